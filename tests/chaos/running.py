"""Running trials on several stages at once, each in a process of its own."""

import multiprocessing
import queue
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from . import report, trial
from .checker import Verdict, judged
from .stage import Stage

# What a trial may take beside its strikes: to start, to come to rest, and to end.
AROUND = 120.0
# Lines of the processes' log that are told of a failure.
LOG = 40


@dataclass(frozen=True, slots=True)
class Job:
    """A trial to be run: a nemesis, for so many seconds, and the mutant that the workers are, if they are one."""

    nemesis: str
    seed: int
    seconds: float
    mutant: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial: its verdict, None where it couldn't be held; and what is to be told of failures."""

    job: Job
    verdict: Verdict | None
    told: list[str]

    @property
    def holds(self) -> bool:
        """Whether all was as promised."""
        return self.verdict is not None and self.verdict.holds


def outcomes(jobs: Sequence[Job], stages: int) -> Iterator[Outcome]:
    """Run trials on so many stages, and yield what came of each as it ends."""
    context = multiprocessing.get_context("spawn")
    wanted, done = context.Queue(), context.Queue()
    for job in jobs:
        wanted.put(job)
    processes = [context.Process(target=_perform, args=(wanted, done)) for _ in range(min(stages, len(jobs)))]
    for each in processes:
        each.start()
    try:
        for job in jobs:
            yield _next(done, processes, job.seconds + AROUND)
        for each in processes:
            each.join()
    finally:
        for each in processes:
            each.kill()


def _next(done: Any, processes: Sequence[Any], patience: float) -> Outcome:
    until = time.monotonic() + patience
    while time.monotonic() < until and any(each.is_alive() for each in processes):
        try:
            return done.get(timeout=0.2)
        except queue.Empty:
            continue
    try:
        return done.get(timeout=0.2)
    except queue.Empty:
        sys.exit("The stages have ended, or hang; what they wrote says why.")


def _perform(wanted: Any, done: Any) -> None:
    """Perform trials on a stage of this process's own until none is wanted."""
    stage = Stage()
    try:
        while True:
            try:
                job = wanted.get(timeout=0.2)
            except queue.Empty:
                return
            done.put(_held(stage, job))
    finally:
        stage.stop()


def _held(stage: Stage, job: Job) -> Outcome:
    try:
        evidence = trial.run(stage, job.nemesis, job.seed, job.seconds, job.mutant)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001  told with the others
        return Outcome(job, None, [f"{job.nemesis}: {traceback.format_exc()}", *_last_lines(stage)])
    verdict = judged(evidence)
    told = list(report.failures(verdict, evidence))
    return Outcome(job, verdict, [*told, *_last_lines(stage)] if told else [])


def _last_lines(stage: Stage) -> list[str]:
    written = [line for line in stage.log().splitlines() if "told to" not in line]
    return ["what workers and publishers wrote last, without what they were told to fail:", *written[-LOG:]]
