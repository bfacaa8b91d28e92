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
from typing import Any, ClassVar

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
from django_redis_streams.worker.services.ears import listening
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

from .notes import whole_lines
from .servers import ServerMissing, faketime
from .warm import WarmPopen, can_fork

ROOT = Path(__file__).parent.parent.parent

# A twentieth of a worker's usual waits for messages and before retries, so that a test sees several.
HASTY = Timing(
    block=DEFAULT_TIMING.block / 20,
    unwoken=DEFAULT_TIMING.unwoken / 20,
    look_for_lease=DEFAULT_TIMING.look_for_lease / 20,
    look_stale=DEFAULT_TIMING.look_stale / 20,
    look_heard=DEFAULT_TIMING.look_heard / 20,
    backoff_factor=1 / 20,
)
# For workers that are given no timing.
default_timing = DEFAULT_TIMING
# In bytes: as much as Linux gives without being told more.
_PIPE = 1 << 20


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


def waiting_reads(raw: Any) -> int:
    """How many consumers wait for messages in a read. Services of a worker wait otherwise, for notices."""
    clients = raw.client_list()
    return sum(each["cmd"].startswith("xreadgroup") and "b" in each["flags"] for each in clients)


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
        promoter = Promoter(alias, self.services_stop, [place.stream], timing)
        maintenance = Maintenance(alias, self.services_stop, [self.runner], [place.stream], timing)
        self.services = [
            Heartbeat(alias, self.services_stop, [self.runner], timing),
            maintenance,
            Presence(alias, self.services_stop, [self.runner], timing, process=name),
            promoter,
            listening(alias)(
                alias,
                self.services_stop,
                [self.runner],
                [place.stream],
                timing,
                hear_due=promoter.hear,
                hear_claimable=maintenance.hear,
            ),
            Statistics(alias, self.services_stop, [self.runner], timing),
        ]
        if drain:
            self.services.append(Draining(alias, self.stop, [self.runner], Drain([alias], self.stop.set), timing))
        self.error: BaseException | None = None
        self.threads: list[threading.Thread] = []

    # Those that were started and weren't joined.
    left: ClassVar[list["Worker"]] = []

    def start(self) -> "Worker":
        """Start all threads."""
        self.left.append(self)
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

    def join(self, deadline: float = 50) -> None:
        """Wait until the consumer has ended by itself, then end the other threads."""
        self.threads[0].join(deadline)
        assert not self.threads[0].is_alive(), "the consumer didn't end"
        self.services_stop.set()
        until = time.monotonic() + deadline
        for service, thread in zip(self.services, self.threads[1:], strict=True):
            # Again and again: one that only connects now begins to wait after that.
            while thread.is_alive() and time.monotonic() < until:
                service.end_wait()
                thread.join(0.02)
        if self in self.left:
            self.left.remove(self)
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

    `runs` is the file in which the handlers write what they do. Workers that still run at the end are killed. Where a
    test looks at how an interpreter begins, or at its memory, it sets `warm` to false.
    """

    def __init__(self, directory: Path, url: str, streams: Mapping[str, Any] | None = None) -> None:
        self.runs = directory / "runs"
        self.url = url
        self.streams = streams or {"orders": {"GROUPS": {"billing": {"BACKOFF": (0.01, 0.02)}}}}
        self.processes: list[subprocess.Popen[str]] = []
        self.warm = True

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a worker; its output is read by `finish`."""
        warm = self.warm and can_fork(environment)
        process = (WarmPopen if warm else subprocess.Popen)(
            [*([] if warm else [sys.executable, "-m", "django"]), "runconsumers", *arguments],
            env=self._environment(environment),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Nobody reads it before the end: a process that finds it full waits, and so do the messages that it has.
            pipesize=_PIPE,
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

    def drain(self, *arguments: str, deadline: float = 120, **environment: str) -> str:
        """Run a worker until nothing is left to do; return its output."""
        process = self.start("--drain", *arguments, **environment)
        return self.finish(process, deadline)

    def finish(self, process: subprocess.Popen[str], deadline: float = 120, code: int = 0) -> str:
        """Wait for its end; return its output."""
        said, _ = process.communicate(timeout=deadline)
        assert process.returncode == code, said
        return said

    def line_with(self, process: subprocess.Popen[str], text: str) -> str:
        """Wait until a worker has written a line with this text, and return it; `finish` returns what follows."""
        assert process.stdout is not None
        line = b""
        # Byte by byte: what a buffer took beyond the line would be lost to `finish`.
        while each := os.read(process.stdout.fileno(), 1):
            line += each
            if each == b"\n":
                if text in line.decode():
                    return line.decode()
                line = b""
        raise AssertionError(f"The output has ended without {text!r}.")

    def stops_amid_work(self, process: subprocess.Popen[str]) -> str:
        """Wait until a worker that runs handlers has heard that it is to stop; return the line that says so."""
        line = self.line_with(process, " stops, and waits")
        assert process.poll() is None
        return line

    def noted(self, what: str) -> list[list[str]]:
        """Return the handlers' notes: the words after `what` of each line that begins with it."""
        return [line.split()[1:] for line in whole_lines(self.runs) if line.startswith(f"{what} ")]

    def runner(self) -> int:
        """Return the process that began a handler last."""
        return int(self.noted("began")[-1][-1])

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
