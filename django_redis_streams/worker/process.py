"""One process of a worker: its consumers' threads, and those that look after them.

The main thread only waits: for a signal, for the consumers to end, for the supervisor to be gone.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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
from .log.unreachable import log_openings, log_unreachable, note_stop
from .options import Options, memberships, process_name
from .services.heartbeat import Heartbeat
from .services.inbox import InboxUpkeep
from .services.making import Making, by_connection
from .services.service import Service
from .shared.counters import ConsumerCounters
from .shared.joined import Joined
from .shared.scoreboard import Scoreboard, Slots
from .stop import Quota, Stop
from .stopping import Stopping, end_blocked_reads
from .system.memory import readable_size, resident
from .system.os_signals import Signals

__all__ = ["Assignment", "Process", "work"]

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
        # Which connection's server the quarantine's thread asks for suspects, and since when; None where it doesn't.
        self._asks: tuple[str, float] | None = None
        self._unclean = False
        self._openings_due = 0.0
        # The aliases of connections that can't be reached at the stop.
        self._away: set[str] = set()
        self._failed = False
        self._failing = threading.Lock()
        self._quota = None if options.max_messages is None else Quota(options.max_messages, self._stop)
        members = memberships(options, os.getpid(), assignment.random_part)
        parts = zip(members, assignment.scoreboard.slots, assignment.counters, strict=True)
        self._runners = [self._runner(*each) for each in parts]
        self._making = Making(
            options=options,
            process=process_name(options, os.getpid(), assignment.random_part),
            quarantine=self._quarantine,
            scoreboard=self._scoreboard,
            runners=self._runners,
            stop=self._stop,
            services_stop=self._services_stop,
        )

    def run(self) -> int:
        """Work until told to stop or done, and return the exit code: 0 if all was settled or handed back."""
        with Signals(signal.SIGTERM) as signals:
            # Services are made first: consumers look at the clock that maintenance gives them.
            self._made = list(self._making.services())
            threads = [self._started(run, runner) for run, runner in self._work()]
            services = [self._started(each.run) for each in self._made]
            inbox = None if self._quarantine else self._started(self._inbox_upkeep().run)
            self._wait(signals, threads)
            self._services_stop.set()
            for each in self._made:
                each.end_wait()
            self._away.update(_connection(each) for each in self._runners if each.unreached)
            until = time.monotonic() + 1.0
            for service, thread in zip(self._made, services, strict=True):
                if service.alias not in self._away:
                    thread.join(timeout=max(0.0, until - time.monotonic()))
            if inbox is not None:
                inbox.join(timeout=max(0.0, until - time.monotonic()))
        refusals.log_due(now=True)
        with suppress(Exception):  # the server ends what can't be closed
            close_pools()
        if self._full and not self._unclean:
            self._scoreboard.leave_full()
        if not self._quarantine and all(each.connection.deleted for each in self._runners):
            self._scoreboard.leave_deleted()
        if self._away:
            self._note_left_behind()
        if self._unclean:
            return 1
        self._scoreboard.end_well()
        return 0

    def _work(self) -> Iterator[tuple[Callable[[], None], BatchRunner | None]]:
        """Yield what each thread is to run, and the consumer that it runs for."""
        if self._quarantine:
            yield self._run_one_after_another, None
            return
        for runner, slots in zip(self._runners, self._scoreboard.slots, strict=True):
            yield partial(_run_and_leave, Consumer(runner), slots), runner

    def _run_one_after_another(self) -> None:
        """Run the groups' quarantines in turn: nothing runs beside a suspect. Groups without any cost a look.

        A server that is away, or refuses something, keeps no other server's suspects from being run.
        """
        for runner, slots in zip(self._runners, self._scoreboard.slots, strict=True):
            if not self._stop.is_set():
                self._guard(partial(self._run_suspects, runner, slots), runner)

    def _run_suspects(self, runner: BatchRunner, slots: Slots) -> None:
        if self._has_suspects(runner.membership):
            _run_and_leave(Quarantine(runner), slots)

    def _has_suspects(self, membership: Membership) -> bool:
        alias = membership.stream.connection
        self._asks = alias, time.monotonic()
        try:
            return bool(count_suspects(connections.get(alias), membership))
        except ServerUnreachable as error:
            log_unreachable(alias, error)
            raise
        finally:
            self._asks = None

    def _wait(self, signals: Signals, threads: Sequence[threading.Thread]) -> None:
        timing = self._options.timing
        while any(self._awaits(number, thread) for number, thread in enumerate(threads)):
            self._scoreboard.tick()
            refusals.log_due()
            self._look_at_openings()
            for each in self._heartbeats:
                each.note_holders()
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

    @property
    def _heartbeats(self) -> Sequence[Heartbeat]:
        return [each for each in self._made if isinstance(each, Heartbeat)]

    def _look_at_openings(self) -> None:
        now = time.monotonic()
        if self._stopping is not None or now >= self._openings_due:
            self._openings_due = now + self._options.timing.look_at_openings
            log_openings(self._openings())

    def _openings(self) -> Iterator[tuple[str, float | None]]:
        """Yield the alias of each service's connection, and since when one is being opened; None where none is.

        Of consumers, of which there may be hundreds, those that open one.
        """
        yield from ((each.alias, each.opens_since) for each in self._made)
        opening = ((_connection(each), each.connection.opens_since) for each in self._runners)
        yield from (each for each in opening if each[1] is not None)

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
            self._stopping = Stopping(self._runners, self._scoreboard.slots, self._heartbeats, timing)
            for alias, runners in by_connection(self._runners):
                self._started(partial(end_blocked_reads, alias, runners, self._services_stop, timing))
        self._stopping.look(self._until)

    def _awaits(self, number: int, thread: threading.Thread) -> bool:
        """Return whether to wait for this thread: it isn't awaited if it can only wait for a server that is away."""
        if not thread.is_alive() or self._stopping is None:
            return thread.is_alive()
        runners = self._runners if self._quarantine else [self._runners[number]]
        away = {_connection(each) for each in runners if self._stopping.can_only_wait(each)}
        asks = self._asks
        if asks is not None and time.monotonic() - asks[1] > self._options.timing.last_tries:
            away.add(asks[0])
        self._away |= away
        return not away

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

    def _inbox_upkeep(self) -> InboxUpkeep:
        return InboxUpkeep([each.membership for each in self._runners], self._services_stop, self._options.timing)

    def _started(self, run: Callable[[], None], runner: BatchRunner | None = None) -> threading.Thread:
        """Start and return a thread, for a consumer if one is given."""
        name = runner.membership.consumer if runner else None
        thread = threading.Thread(target=partial(self._guard, run, runner), daemon=True, name=name)
        thread.start()
        return thread

    def _guard(self, run: Callable[[], None], runner: BatchRunner | None) -> None:
        """Call a function, and note that the process doesn't end well if it raises.

        An unforeseen error ends the process: a worker never goes on with only some of its threads.
        """
        membership = runner.membership if runner else None
        try:
            run()
        except ServerUnreachable:  # logged: it was tried again and again
            # A quarantine that is stopped before it has anything in hand leaves nothing behind.
            self._unclean = self._unclean or not (runner and self._stop.is_set()) or runner.holds_anything
            if runner:
                self._away.add(_connection(runner))
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
    refused = False
    try:
        consumer.run()
    except BaseException as error:
        refused = not isinstance(error, ServerUnreachable)
        raise
    finally:
        slots.leave(refused=refused)


def _connection(runner: BatchRunner) -> str:
    return runner.membership.stream.connection
