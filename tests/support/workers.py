"""The parts of a worker in the test's own process, and whole workers in other processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connections as databases

from django_redis_streams import conf, connections, handlers
from django_redis_streams.exceptions import ServerUnreachable
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.worker.consumer.batch_runner import BatchRunner
from django_redis_streams.worker.consumer.consumer import Consumer
from django_redis_streams.worker.consumer.unsettled import MOST_REFUSED
from django_redis_streams.worker.execution.executor import Executor
from django_redis_streams.worker.options import Options
from django_redis_streams.worker.process import Assignment
from django_redis_streams.worker.services.draining import Drain, Draining
from django_redis_streams.worker.services.heartbeat import Heartbeat
from django_redis_streams.worker.services.maintenance import Maintenance
from django_redis_streams.worker.services.presence import Presence
from django_redis_streams.worker.services.promoter import Promoter
from django_redis_streams.worker.services.statistics import Statistics
from django_redis_streams.worker.shared.counters import ConsumerCounters
from django_redis_streams.worker.shared.joined import Joined
from django_redis_streams.worker.shared.scoreboard import Scoreboard, Slots
from django_redis_streams.worker.stop import Stop
from django_redis_streams.worker.timing import DEFAULT_TIMING, Timing

from .servers import ServerMissing, faketime

ROOT = Path(__file__).parent.parent.parent

# A twentieth of a worker's usual waits for messages and before retries, so that a test sees several.
HASTY = Timing(
    block=DEFAULT_TIMING.block / 20,
    look_for_lease=DEFAULT_TIMING.look_for_lease / 20,
    look_stale=DEFAULT_TIMING.look_stale / 20,
    backoff_factor=1 / 20,
)
# For workers that are given no timing.
default_timing = DEFAULT_TIMING


def assigned(options: Options) -> Assignment:
    """Return what a supervisor would assign to one process, with its own shared memory."""
    return Assignment(
        options=options,
        supervisor=os.getppid(),
        random_part="tested",
        scoreboard=Scoreboard(options.targets),
        counters=[ConsumerCounters() for _ in options.targets],
        joined=Joined([f"{stream.name}:{group.name}" for stream, group in options.groups]),
    )


def own_clock(off: str) -> dict[str, str]:
    """Return the environment of a worker whose clock is off by so many seconds, such as "-600"; else skip the test."""
    try:
        library = faketime("any")
    except ServerMissing as error:
        pytest.skip(str(error))
    return {"LD_PRELOAD": str(library), "FAKETIME": off, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


class Worker:
    """One consumer with all services of a process, in threads of this process.

    With `drain` it ends when its group has nothing left to do.
    """

    def __init__(
        self,
        stream: str = "orders",
        group: str = "billing",
        name: str = "tested",
        *,
        drain: bool = False,
        timing: Timing | None = None,
        most_refused: int = MOST_REFUSED,
        **options: Any,
    ) -> None:
        self.stop = Stop()
        timing = timing or default_timing
        place = Membership(conf.stream(stream), conf.group(stream, group), name)
        self.slots = Slots(place.stream, place.group)
        executor = Executor(handlers.of(stream, group, name), place.group, self.slots, timing)
        self.runner = BatchRunner(place, executor, stop=self.stop, timing=timing, **options)
        self.runner.unsettled.most_refused = most_refused
        self.consumer = Consumer(self.runner)
        self.services_stop = threading.Event()
        alias = place.stream.connection
        self.services = [
            Heartbeat(alias, self.services_stop, [self.runner], timing),
            Maintenance(alias, self.services_stop, [self.runner], [place.stream], timing),
            Presence(alias, self.services_stop, [self.runner], timing, process=name),
            Promoter(alias, self.services_stop, [place.stream], timing),
            Statistics(alias, self.services_stop, [self.runner], timing),
        ]
        if drain:
            self.services.append(Draining(alias, self.stop, [self.runner], Drain([alias], self.stop.set), timing))
        self.error: BaseException | None = None
        self.threads: list[threading.Thread] = []

    def start(self) -> "Worker":
        """Start all threads."""
        for run in (self._consume, *(each.run for each in self.services)):
            thread = threading.Thread(target=self._guarded(run), daemon=True, name=self.runner.membership.consumer)
            thread.start()
            self.threads.append(thread)
        return self

    def _consume(self) -> None:
        try:
            self.consumer.run()
        finally:
            databases.close_all()

    def _guarded(self, run: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                run()
            except BaseException as error:  # noqa: BLE001  `join` raises it again
                self.error = error

        return guarded

    def join(self, deadline: float = 20) -> None:
        """Wait until the consumer has ended by itself, then end the other threads."""
        self.threads[0].join(deadline)
        assert not self.threads[0].is_alive(), "the consumer didn't end"
        self.services_stop.set()
        for thread in self.threads:
            thread.join(deadline)
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        """Stop it cleanly and at once: a blocked read is ended, as in a worker's process."""
        self.stop.set()
        until = time.monotonic() + 5
        while self.threads[0].is_alive() and time.monotonic() < until:
            with suppress(ServerUnreachable):
                self.runner.connection.wake(connections.get(self.runner.membership.stream.connection))
            self.threads[0].join(0.02)
        self.join()


@contextmanager
def working(*args: Any, **options: Any) -> Iterator[Worker]:
    """Run a worker within it; stop it cleanly at the end."""
    worker = Worker(*args, **options).start()
    try:
        yield worker
    finally:
        worker.end()


def drain(*args: Any, **options: Any) -> None:
    """Run a worker until its group has nothing left to do now."""
    Worker(*args, drain=True, **options).start().join()


class Fleet:
    """`manage.py runconsumers` as processes of their own, with the handlers of `obedient_handlers`.

    `runs` is the file in which the handlers write what they do. Workers that still run at the end are killed.
    """

    def __init__(self, directory: Path, url: str, streams: Mapping[str, Any] | None = None) -> None:
        self.runs = directory / "runs"
        self.url = url
        self.streams = streams or {"orders": {"GROUPS": {"billing": {"BACKOFF": (0.01, 0.02)}}}}
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a worker; its output is read by `finish`."""
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "runconsumers", *arguments],
            env=self._environment(environment),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of manage.py with the workers' settings, as there is no terminal to ask at."""
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env=self._environment({}),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def drain(self, *arguments: str, deadline: float = 30, **environment: str) -> str:
        """Run a worker until nothing is left to do; return its output."""
        process = self.start("--drain", *arguments, **environment)
        return self.finish(process, deadline)

    def finish(self, process: subprocess.Popen[str], deadline: float = 30, code: int = 0) -> str:
        """Wait for its end; return its output."""
        said, _ = process.communicate(timeout=deadline)
        assert process.returncode == code, said
        return said

    def noted(self, what: str) -> list[list[str]]:
        """Return the handlers' notes: the words after `what` of each line that begins with it."""
        lines = self.runs.read_text().splitlines() if self.runs.exists() else []
        return [line.split()[1:] for line in lines if line.startswith(f"{what} ")]

    def children(self, process: subprocess.Popen[str]) -> list[int]:
        """Return the process ids of a worker's children."""
        return [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.support.worker_settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "TEST_REDIS_URL": self.url,
            "TEST_STREAMS": json.dumps(self.streams),
            "TEST_RUNS": str(self.runs),
            **more,
        }

    def end(self) -> None:
        """Kill the workers that still run, and all processes that they started."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
