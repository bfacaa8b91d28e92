"""How a process stops: blocked reads end, what still runs is named, and a server that doesn't answer is given up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from .. import connections
from ..exceptions import ServerUnreachable
from .consumer.batch_runner import BatchRunner
from .execution.matching import matched_run
from .log.lines import NAMED, logger
from .services.heartbeat import Heartbeat
from .shared.scoreboard import Slots
from .timing import Timing

__all__ = ["Stopping", "end_blocked_reads"]


def end_blocked_reads(alias: str, runners: Iterable[BatchRunner], ended: threading.Event, timing: Timing) -> None:
    """End blocked reads of these consumers of one connection again and again, as one may just have begun."""
    # If the server can't be reached, no read is blocked on it for long either.
    with suppress(ServerUnreachable), closing(connections.open(alias, timeout=timing.service_timeout)) as link:
        while True:
            for each in runners:
                each.connection.wake(link)
            if ended.wait(timing.tick_stopping):
                return


@dataclass(slots=True)
class _Leaving:
    """A consumer at the stop, in which nothing has run `since` then; `cut` says whether its connection was cut."""

    runner: BatchRunner
    slots: Slots
    since: float
    cut: bool = False
    given_up: bool = False

    @property
    def can_only_wait(self) -> bool:
        """Whether its thread does nothing but connect to a server that was given up."""
        return self.given_up and self.runner.connection.opens_since is not None

    def waits_late(self, now: float, timing: Timing) -> bool:
        """Return whether nothing runs, and what it holds waits for longer than a server that is well would take."""
        if not self.runner.holds_anything or self.slots.runs:
            return False
        waits = self.runner.connection.waits_since
        return waits is not None and now > max(waits, self.since) + timing.last_tries

    def look(self, now: float, timing: Timing) -> None:
        """Cut its connection if a whole reply takes too long, and give the server up if that happens again.

        The server is given up at once where it was away before, or where there is nothing to settle or to hand back.
        """
        if self.slots.runs:
            self.since = now
            return
        connection = self.runner.connection
        opens, waits = connection.opens_since, connection.waits_since
        began = waits if opens is None else opens
        if began is None:
            return
        last = opens is not None or self.cut or not self.runner.holds_anything
        patience = timing.last_tries if last else timing.reply_timeout
        if now < max(began + patience, self.since + timing.last_tries):
            return
        if last:
            self.given_up = True
            connection.give_up()
        else:
            self.cut, self.since = True, now
            connection.cut()


class Stopping:
    """For the main thread of a process, from when it is to stop."""

    def __init__(
        self, runners: Sequence[BatchRunner], slots: Sequence[Slots], heartbeats: Sequence[Heartbeat], timing: Timing
    ) -> None:
        self._heartbeats = heartbeats
        self._began = time.monotonic()
        self._timing = timing
        self._consumers = [_Leaving(*each, self._began) for each in zip(runners, slots, strict=True)]
        self._named = self._told = False

    def look(self, until: float | None) -> None:
        """Give up servers that don't answer, and log once what still runs.

        `until` is when the process is killed, on the monotonic clock; None if nobody does that.
        """
        now = time.monotonic()
        for each in self._consumers:
            each.look(now, self._timing)
        if not any(each.slots.runs for each in self._consumers):
            self._cut_heartbeats(now)
        if not self._told:
            self._log_waiting([each.runner for each in self._consumers if each.waits_late(now, self._timing)])
        if not self._named and now - self._began >= self._timing.name_running:
            self._named = True
            self._log_running(None if until is None else until - now)

    def can_only_wait(self, runner: BatchRunner) -> bool:
        """Return whether the thread of this consumer does nothing but wait for a server that was given up."""
        return any(each.can_only_wait for each in self._consumers if each.runner is runner)

    def _cut_heartbeats(self, now: float) -> None:
        """Cut heartbeats whose replies take long: they may be settling, and until they have ended no consumer can."""
        for each in self._heartbeats:
            waits = each.waits_since
            if waits is not None and now > max(waits, self._began) + self._timing.last_tries:
                each.cut()

    def _log_waiting(self, late: Sequence[BatchRunner]) -> None:
        if not late:
            return
        self._told = True
        logger.warning(
            "Process %d stops, and waits up to %g s for its server, which doesn't answer: %d messages are to be "
            "settled or handed back.",
            os.getpid(), self._timing.reply_timeout + self._timing.last_tries, sum(len(each.unacked) for each in late),
        )  # fmt: skip

    def _log_running(self, left: float | None) -> None:
        running = list(self._running())
        if not running:
            return
        until = "" if left is None else f" until {_clock(left)} (--shutdown-timeout)"
        more = ", …" if len(running) > NAMED else ""
        logger.warning(
            "Process %d stops, and waits%s for what it runs: %d messages, %s%s.",
            os.getpid(), until, len(running), ", ".join(running[:NAMED]), more,
        )  # fmt: skip

    def _running(self) -> Iterator[str]:
        """Yield the group, the message and the handler of each run."""
        for each in self._consumers:
            tokens = {token for token, _ in each.slots.running()}
            membership = each.runner.membership
            for delivery in list(each.runner.unacked) if tokens else ():
                if delivery.token in tokens:
                    found = matched_run(membership, delivery)
                    by = f" in {found.handler.name}" if found else ""
                    yield f"{membership.label} {delivery.history().id!r}{by}"


def _clock(seconds: float) -> str:
    """Return the time of day in so many seconds, as the log shows it."""
    return f"{datetime.fromtimestamp(time.time() + seconds, UTC).astimezone():%H:%M:%S}"
