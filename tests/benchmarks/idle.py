"""What a worker costs while no message comes.

Commands are counted by the server, those within scripts too; the measurer's own are taken away. Cores are counted for
the whole worker, its supervisor too. Windows of time begin when the server knows each consumer, and the first window
doesn't count: what a worker does at its start is over by then.
"""

import functools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import redis

from .bench import Bench
from .figures import CannotMeasure, Cost, figure
from .idle_streams import GROUPS, STREAM, STREAMS
from .machine import cpu_seconds, family, threads
from .processes import Process, Worker

_WINDOWS = 3
_SECONDS = 20.0
_READY_WITHIN = 240.0
_LOOK_EACH = 0.5


@dataclass(frozen=True)
class _Scene:
    """What a worker serves: the arguments of `runconsumers`, the streams, and how many consumers read in all."""

    arguments: tuple[str, ...]
    streams: tuple[str, ...]
    consumers: int


class _Look(NamedTuple):
    """What has been used until now. Commands are those of everybody, this look's own too."""

    at: float
    commands: int
    by_command: Counter[str]
    cpu: float


@dataclass(frozen=True)
class _Idle:
    """What was seen at the ends of all windows, and how many threads the worker had."""

    looks: list[_Look]
    threads: int


_WORKER = _Scene(STREAMS[:1], STREAMS[:1], 1)
_PROCESSES = _Scene((STREAMS[0], "--processes", "100"), STREAMS[:1], 100)
_GROUPS = _Scene((STREAM,), (STREAM,), len(GROUPS))
_STREAMS = _Scene(STREAMS, STREAMS, len(STREAMS))


@figure("idle.worker", at_most=5)
def worker(bench: Bench) -> Cost:
    """Commands a second of one idle process that serves one group."""
    return _commands(bench, _WORKER)


@figure("idle.processes", at_most=150)
def processes(bench: Bench) -> Cost:
    """Commands a second of 100 idle processes that serve one group."""
    return _commands(bench, _PROCESSES)


@figure("idle.groups", at_most=600)
def groups(bench: Bench) -> Cost:
    """Commands a second of one idle process that serves 200 groups of one stream."""
    return _commands(bench, _GROUPS)


@figure("idle.streams", at_most=1000)
def streams(bench: Bench) -> Cost:
    """Commands a second of one idle process that serves 500 streams, one group of each."""
    return _commands(bench, _STREAMS)


@figure("idle.streams.cpu", at_most=3)
def streams_cpu(bench: Bench) -> Cost:
    """The share of a core that the same process uses."""
    idle, foreign = _measured(bench, _STREAMS)
    shares = [100 * (end.cpu - begin.cpu) / (end.at - begin.at) for begin, end in pairwise(idle.looks)]
    return Cost("% of a core", shares, foreign, note=f"{idle.threads} threads")


def _commands(bench: Bench, scene: _Scene) -> Cost:
    idle, foreign = _measured(bench, scene)
    rates, by_command = _rates(idle.looks)
    return Cost("commands/s", rates, foreign, by_command)


def _rates(looks: list[_Look]) -> tuple[list[float], dict[str, float]]:
    """Return the commands a second of others in each window, and those of all windows by command.

    Between two looks the server counts one of them.
    """
    rates = [(end.commands - begin.commands - 1) / (end.at - begin.at) for begin, end in pairwise(looks)]
    first, last = looks[0], looks[-1]
    calls = last.by_command - first.by_command - Counter(info=len(rates))
    return rates, {name: number / (last.at - first.at) for name, number in calls.most_common()}


@functools.cache
def _measured(bench: Bench, scene: _Scene) -> tuple[_Idle, float]:
    """Measure once for all figures of a scene; return the share of a core that other processes used, too."""
    return bench.alone(lambda: _watched(bench, scene))


def _watched(bench: Bench, scene: _Scene) -> _Idle:
    command = ("-m", "django", "runconsumers", "--settings", "tests.benchmarks.idle_settings", *scene.arguments)
    with bench.idling(Worker(True, "idle", (command,))) as process:
        _wait_for_consumers(bench, scene, process)
        time.sleep(_SECONDS)
        pids = family(process.pid)
        looks = list(_looks(bench, process, pids))
        return _Idle(looks, sum(threads(pid) for pid in pids))


def _wait_for_consumers(bench: Bench, scene: _Scene, process: Process) -> None:
    """Wait until each consumer has begun to read: then the server knows it."""
    deadline = time.monotonic() + _READY_WITHIN
    while (known := _consumers(bench, scene)) < scene.consumers:
        process.check()
        if time.monotonic() > deadline:
            raise CannotMeasure(f"{known} of {scene.consumers} consumers have read within {_READY_WITHIN:.0f} s")
        time.sleep(_LOOK_EACH)


def _consumers(bench: Bench, scene: _Scene) -> int:
    """Return how many consumers the server knows, of all groups; a stream that isn't there yet has none."""
    with bench.client.pipeline(transaction=False) as pipeline:
        for stream in scene.streams:
            pipeline.xinfo_groups(stream)
        answers = pipeline.execute(raise_on_error=False)
    return sum(group["consumers"] for each in answers if not isinstance(each, redis.ResponseError) for group in each)


def _looks(bench: Bench, process: Process, pids: list[int]) -> Iterator[_Look]:
    """Look at both ends of each window. Raises `CannotMeasure` if a process has ended or come meanwhile."""
    yield _look(bench, pids)
    for _ in range(_WINDOWS):
        time.sleep(_SECONDS)
        process.check()
        if (now := family(process.pid)) != pids:
            raise CannotMeasure(f"the worker's processes were {pids}, and became {now}")
        yield _look(bench, pids)


def _look(bench: Bench, pids: list[int]) -> _Look:
    said = bench.client.info("all")
    by_command = Counter(
        {name.removeprefix("cmdstat_"): each["calls"] for name, each in said.items() if name.startswith("cmdstat_")}
    )
    return _Look(time.monotonic(), said["total_commands_processed"], by_command, sum(map(cpu_seconds, pids)))
