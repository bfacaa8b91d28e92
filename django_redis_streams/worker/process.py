"""One process of a worker: its consumers' threads, and those that look after them.

The main thread only waits: for a signal, for the consumers to end, for the supervisor to be gone.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from redis.exceptions import ResponseError

from .. import connections, handlers
from ..exceptions import ConfigurationError, ExtraMissing, HandlerError, ServerUnreachable, UnknownStream
from ..signals import send_to_all, worker_process_ending, worker_process_started
from ..store.consume.membership import Membership
from ..store.consume.suspects import count_suspects
from .consumer.batch_runner import BatchRunner
from .consumer.consumer import Consumer
from .consumer.quarantine import Quarantine
from .execution.databases import close_pools
from .execution.executor import Executor
from .log.lines import about, logger
from .log.recurring import refusals
from .log.unreachable import log_unreachable, note_stop
from .options import Options, memberships, process_name
from .services.draining import Drain, Draining
from .services.heartbeat import Heartbeat
from .services.maintenance import Maintenance
from .services.presence import Presence
from .services.promoter import Promoter
from .services.service import Service
from .services.statistics import Statistics
from .shared.counters import ConsumerCounters
from .shared.joined import Joined
from .shared.scoreboard import Scoreboard, Slots
from .stop import Quota, Stop
from .stopping import Stopping, end_blocked_reads
from .system.memory import readable_size, resident
from .system.os_signals import Signals

__all__ = ["Assignment", "Process", "redis_connections", "work"]

# Errors that a process would meet again if it were started again.
_UNWORKABLE = (ConfigurationError, ExtraMissing, HandlerError, UnknownStream)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a supervisor gives a process that it forks: what to do, and the memory that the two share.

    `supervisor` is the supervisor's pid. `random_part` makes the names of the process' consumers unique. With
    `quarantine` the process runs suspects, one at a time, then ends.
    """

    options: Options
    supervisor: int
    random_part: str
    scoreboard: Scoreboard
    counters: Sequence[ConsumerCounters]
    joined: Joined
    quarantine: bool = False


def work(assignment: Assignment) -> int:
    """Run a process of a supervisor's until its end, and return its exit code."""
    send_to_all(worker_process_started)
    try:
        return Process(assignment).run()
    except _UNWORKABLE as error:
        assignment.scoreboard.give_up(str(error))
        return 1
    finally:
        send_to_all(worker_process_ending)


def redis_connections(options: Options) -> Mapping[str, int]:
    """Return how many connections the processes of a worker keep open together, by the connection's alias.

    Each consumer has one, and each service. Those that handlers borrow from their process aren't counted.
    """
    consumers = Counter(stream.connection for stream, _ in options.targets)
    services = len(_services_of(options))
    return {alias: options.processes * (count + services) for alias, count in consumers.items()}


def _services_of(options: Options, *, quarantine: bool = False) -> Sequence[type[Service]]:
    """Return the services that run in each process, one of each kind for each connection."""
    if quarantine:
        return [Heartbeat, Presence, Statistics]
    return [Heartbeat, Presence, Maintenance, Promoter, Statistics, *([Draining] if options.drain else [])]


class Process:
    """A child of a supervisor, built after the fork."""

    def __init__(self, assignment: Assignment) -> None:
        self._quarantine = assignment.quarantine
        self._options = options = assignment.options
        self._supervisor = assignment.supervisor
        self._scoreboard = assignment.scoreboard
        self._joined = assignment.joined
        self._full = False
        self._stop = Stop()
        self._services_stop = threading.Event()
        self._made: Sequence[Service] = ()
        self._stopping: Stopping | None = None
        # When the supervisor kills this process, on the monotonic clock; None where it doesn't.
        self._until: float | None = None
        # Since when the quarantine's thread asks whether there are suspects; None where it doesn't.
        self._asks_since: float | None = None
        self._unclean = False
        self._unreached = False
        self._failed = False
        self._failing = threading.Lock()
        self._quota = None if options.max_messages is None else Quota(options.max_messages, self._stop)
        self._name = process_name(options, os.getpid(), assignment.random_part)
        members = memberships(options, os.getpid(), assignment.random_part)
        parts = zip(members, assignment.scoreboard.slots, assignment.counters, strict=True)
        self._runners = [self._runner(*each) for each in parts]

    def run(self) -> int:
        """Work until told to stop or done, and return the exit code: 0 if all was settled or handed back."""
        with Signals(signal.SIGTERM) as signals:
            # Services are made first: consumers look at the clock that maintenance gives them.
            self._made = list(self._services())
            threads = [self._started(run, membership) for run, membership in self._work()]
            services = [self._started(each.run) for each in self._made]
            self._wait(signals, threads)
            self._services_stop.set()
            self._unreached = self._unreached or any(each.unreached for each in self._runners)
            until = time.monotonic() + (0.0 if self._unreached else 1.0)
            for thread in services:
                thread.join(timeout=max(0.0, until - time.monotonic()))
        refusals.log_due(now=True)
        with suppress(Exception):  # the server ends what can't be closed
            close_pools()
        if self._full and not self._unclean:
            self._scoreboard.leave_full()
        if not self._quarantine and all(each.connection.deleted for each in self._runners):
            self._scoreboard.leave_deleted()
        if self._unreached:
            self._note_left_behind()
        if self._unclean:
            return 1
        self._scoreboard.end_well()
        return 0

    def _work(self) -> Iterator[tuple[Callable[[], None], Membership | None]]:
        """Yield what each thread is to run, and the consumer that it runs for."""
        if self._quarantine:
            yield self._run_one_after_another, None
            return
        for runner, slots in zip(self._runners, self._scoreboard.slots, strict=True):
            yield partial(_run_and_leave, Consumer(runner), slots), runner.membership

    def _run_one_after_another(self) -> None:
        """Run the groups' quarantines in turn: nothing runs beside a suspect. Groups without any cost a look."""
        for runner, slots in zip(self._runners, self._scoreboard.slots, strict=True):
            if not self._stop.is_set() and self._has_suspects(runner.membership):
                _run_and_leave(Quarantine(runner), slots)

    def _has_suspects(self, membership: Membership) -> bool:
        self._asks_since = time.monotonic()
        try:
            return bool(count_suspects(connections.get(membership.stream.connection), membership))
        except ServerUnreachable as error:
            log_unreachable(membership.stream.connection, error)
            raise
        finally:
            self._asks_since = None

    def _wait(self, signals: Signals, threads: Sequence[threading.Thread]) -> None:
        timing = self._options.timing
        while any(self._awaits(number, thread) for number, thread in enumerate(threads)):
            self._scoreboard.tick()
            refusals.log_due()
            for runner in self._runners:
                runner.note_holder()
            if signals.wait(timing.tick_stopping if self._stopping else timing.tick):
                self._until = self._until or time.monotonic() + self._options.shutdown_timeout
                self._stop.set()
            if os.getppid() != self._supervisor:
                self._until = None
                self._stop.set()
            if not self._stop.is_set():
                self._look_at_memory()
            if self._stop.is_set():
                self._look_at_stop()

    def _look_at_memory(self) -> None:
        """Stop this process if it uses more than --max-memory, unless it has settled nothing.

        A process that has settled nothing goes on: the one that replaces it would get no further.
        """
        most = self._options.max_memory
        if most is None or not self._scoreboard.settled or (used := resident()) <= most:
            return
        logger.warning(
            "Process %d uses %s, more than --max-memory (%s). It finishes what it runs, and another one replaces it.",
            os.getpid(), readable_size(used), readable_size(most),
        )  # fmt: skip
        self._full = True
        self._stop.set()

    def _look_at_stop(self) -> None:
        timing = self._options.timing
        if self._stopping is None:
            note_stop()
            heartbeats = [each for each in self._made if isinstance(each, Heartbeat)]
            self._stopping = Stopping(self._runners, self._scoreboard.slots, heartbeats, timing)
            for alias, runners in self._by_connection():
                self._started(partial(end_blocked_reads, alias, runners, self._services_stop, timing))
        self._stopping.look(self._until)

    def _awaits(self, number: int, thread: threading.Thread) -> bool:
        """Return whether to wait for this thread: it isn't awaited if it can only wait for a server that is away."""
        if not thread.is_alive() or self._stopping is None:
            return thread.is_alive()
        if self._quarantine:
            since, most = self._asks_since, self._options.timing.last_tries
            asks = since is not None and time.monotonic() - since > most
            given_up = asks or any(self._stopping.can_only_wait(each) for each, _ in enumerate(self._runners))
        else:
            given_up = self._stopping.can_only_wait(number)
        self._unreached = self._unreached or given_up
        return not given_up

    def _note_left_behind(self) -> None:
        """Write on the scoreboard what this process couldn't settle or hand back."""
        self._scoreboard.leave_unreached()
        for runner, slots in zip(self._runners, self._scoreboard.slots, strict=True):
            if runner.holds_anything and (runner.unreached or runner.connection.given_up):
                self._unclean = True
                slots.leave_behind(len(runner.unacked), len(runner.unsettled))

    def _runner(self, membership: Membership, slots: Slots, counters: ConsumerCounters) -> BatchRunner:
        def settled(count: int) -> None:
            slots.settle(count)
            if self._quota is not None:
                self._quota.settled(count)

        timing = self._options.timing
        stream, group, consumer = membership.stream.name, membership.group.name, membership.consumer
        return BatchRunner(
            membership,
            Executor(handlers.of(stream, group, consumer), membership.group, slots, timing),
            stop=self._stop,
            begin=None if self._quota is None else self._quota.try_acquire,
            on_settled=settled,
            counters=counters,
            joined=self._joined,
            timing=timing,
        )

    def _services(self) -> Iterable[Service]:
        kinds = _services_of(self._options, quarantine=self._quarantine)
        drain = Drain({_connection(each) for each in self._runners}, self._stop.set)
        for alias, runners in self._by_connection():
            make = self._makers(alias, runners, drain)
            yield from (make[kind]() for kind in kinds)

    def _makers(
        self, alias: str, runners: Sequence[BatchRunner], drain: Drain
    ) -> Mapping[type[Service], Callable[[], Service]]:
        """Return for each kind of service what makes the one of this connection."""
        timing, stop = self._options.timing, self._services_stop
        streams = list({each.membership.stream.name: each.membership.stream for each in runners}.values())
        # What comes due after the end of a drain waits for the next worker, where it is counted.
        until = self._stop if self._options.drain else stop
        return {
            Heartbeat: lambda: Heartbeat(alias, stop, runners, timing),
            Presence: lambda: Presence(alias, stop, runners, timing, process=self._name, quarantine=self._quarantine),
            Maintenance: lambda: Maintenance(alias, stop, runners, streams, timing, scoreboard=self._scoreboard),
            Promoter: lambda: Promoter(alias, until, streams, timing),
            Statistics: lambda: Statistics(alias, stop, runners, timing),
            Draining: lambda: Draining(alias, self._stop, self._runners, drain, timing),
        }

    def _by_connection(self) -> Iterator[tuple[str, list[BatchRunner]]]:
        for alias, runners in itertools.groupby(sorted(self._runners, key=_connection), key=_connection):
            yield alias, list(runners)

    def _started(self, run: Callable[[], None], membership: Membership | None = None) -> threading.Thread:
        """Start and return a thread. An unforeseen error in it ends the process.

        A worker never goes on with only some of its threads.
        """

        def guarded() -> None:
            try:
                run()
            except ServerUnreachable:  # logged: it was tried again and again
                self._unclean = self._unreached = True
            except ResponseError as error:
                self._unclean = True
                _note_refused(str(error), membership)
            except _UNWORKABLE as error:
                self._fail()
                self._scoreboard.give_up(str(error))
            except BaseException as error:  # noqa: BLE001  logged, and the end of the process
                # Mostly all threads fail for one reason: its traceback once will do.
                first = self._fail()
                logger.critical(
                    "A thread of the worker failed, and so its process ends: %r", str(error) or type(error).__name__,
                    exc_info=first, extra=about(membership) if membership else None,
                )  # fmt: skip

        thread = threading.Thread(target=guarded, daemon=True, name=membership.consumer if membership else None)
        thread.start()
        return thread

    def _fail(self) -> bool:
        """End the process because a thread failed, and return whether that thread is the first."""
        with self._failing:
            first, self._failed = not self._failed, True
        self._unclean = True
        self._stop.set()
        return first


def _note_refused(error: str, membership: Membership | None) -> None:
    def log(count: int) -> None:
        logger.error(
            "A consumer couldn't settle and hand back all its messages. A rescuer tries again: %r (%d consumers)",
            error, count, extra=about(membership) if membership else None,
        )  # fmt: skip

    refusals.add(("leave",), error, 1, log)


def _run_and_leave(consumer: Consumer | Quarantine, slots: Slots) -> None:
    try:
        consumer.run()
    finally:
        slots.leave()


def _connection(runner: BatchRunner) -> str:
    return runner.membership.stream.connection
