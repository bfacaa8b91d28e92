"""Looks after what a process held that can't do so itself, because it died or its threads can't get on.

It is a process of its own, forked on demand: the supervisor has no connections, ever. It logs and counts what has
failed with a process, and sends the signals that the process can't send any more.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from math import inf, isfinite

from redis.exceptions import ResponseError

from ... import connections, signals
from ...connections import Link
from ...connections.refusals import OnOtherNode
from ...exceptions import ConfigurationError, ServerUnreachable, WorkerProcessEnded
from ...handlers import Handler
from ...outcomes import DeadLetter, Failure, Outcome, Reason
from ...retry import judge
from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership
from ...store.consume.ownership import hand_back, renew_all
from ...store.consume.settle import settle_commands
from ...store.consume.suspects import body_of, suspect, take_back
from ...store.replies import group_is_gone
from ...store.scripts import run
from .. import strays
from ..execution.databases import close_pools, forget_inherited
from ..execution.matching import MatchedRun, matched_run
from ..execution.signalling import Run, send_failed, send_signals, undecoded
from ..log.lines import about, log_outcome, log_vanished, logger
from ..log.recurring import log_refusal, refusals
from ..log.unreachable import log_reached, log_unreachable, note_stop
from ..services.statistics import news
from ..system.os_signals import Signals
from ..timing import Backoff
from .child import Orphans, Suspect

__all__ = ["GAVE_UP", "renew_for", "rescue_all"]

_TIMEOUT = 5.0
# In seconds: for so long after a SIGTERM it tries what has failed.
_LAST_TRIES = 1.0
# The exit code of a rescuer that has given up.
GAVE_UP = 3


def rescue_all(
    dead: Iterable[Orphans],
    supervisor: int,
    tries: float | None = None,
    handed_back: Callable[[], object] = lambda: None,
) -> int:
    """Settle what timed out, write down what is suspect, and hand back all else that a dead process held.

    Tries until all is done or the supervisor is gone, at most for `tries` seconds, and for a moment only after a
    SIGTERM. Returns the exit code, 0 if all is done. Each script is fenced on the dead consumers' names, which nobody
    else ever has, so that a step may be done twice.

    `handed_back` is called when all is done. Only then receivers of signals are told, since they may take long.
    """
    left = every = [_ConsumerRescue(each) for each in dead]
    backoff = Backoff(least=0.1, most=5.0)
    until = inf if tries is None else time.monotonic() + tries
    if tries is not None:
        note_stop()
    with Signals(signal.SIGTERM) as came:
        while left and os.getppid() == supervisor:
            left = [each for each in left if not _attempted(each.membership, each.attempt)]
            now = time.monotonic()
            if left and now >= until:
                break
            if left and came.wait(min(backoff.more(), until - now)):
                note_stop()
                until = min(until, time.monotonic() + _LAST_TRIES)
    refusals.log_due(now=True)
    if not left:
        handed_back()
    _tell([each for rescue in every for each in rescue.untold])
    return GAVE_UP if left else 0


def renew_for(silent: Iterable[Membership]) -> int:
    """Renew once what the consumers of a living process hold, and return the exit code."""
    done = [_attempted(each, partial(renew_all, membership=each)) for each in silent]
    refusals.log_due(now=True)
    return 0 if all(done) else 1


def _attempted(membership: Membership, work: Callable[[Link], None]) -> bool:
    """Do the work, and return False if it must be tried again. A connection that can't work has held nothing."""
    try:
        stream = membership.stream
        link = connections.open(stream.connection, timeout=_TIMEOUT, key=stream.keys.main)
        try:
            work(link)
            log_reached(membership.stream.connection)
        finally:
            link.close()
    except ServerUnreachable as error:
        log_unreachable(membership.stream.connection, error)
        return False
    except (ConfigurationError, OnOtherNode) as error:
        logger.error(
            "Couldn't look after the messages of another process. Correct the connection's settings: %r",
            str(error),
            extra=about(membership),
        )
    except ResponseError as error:
        if not group_is_gone(error):
            log_refusal(
                ("rescue", membership.label), str(error),
                "Couldn't look after the messages of another process yet: %r (%d times)", extra=about(membership),
            )  # fmt: skip
            return False
        # With the group went all that was pending.
    return True


def _tell(untold: Sequence[Callable[[], None]]) -> None:
    """Send signals that are due, in a process that receivers know for one of the worker's."""
    if not untold:
        return
    signals.send_to_all(signals.worker_process_started)
    try:
        with strays.prepared(forget_inherited):
            for send in untold:
                send()
    finally:
        signals.send_to_all(signals.worker_process_ending)
        with suppress(Exception):  # the server ends what can't be closed
            close_pools()


class _ConsumerRescue:
    """Rescues what one consumer left, and keeps what receivers of signals are yet to be told.

    An attempt that fails is made again: what an earlier one has done is neither logged, counted nor told once more.
    """

    def __init__(self, dead: Orphans) -> None:
        self.membership = dead.membership
        self.untold: list[Callable[[], None]] = []
        self._dead = dead
        self._counters = dead.counters
        self._suspects: set[str] = set()
        self._batches: set[Handler] = set()

    def attempt(self, link: Link) -> None:
        """Do all that is left to do."""
        dead, membership = self._dead, self.membership
        for each in dead.suspects:
            for delivery in body_of(link, membership, [each.token]):
                self._suspect(link, delivery, each)
        for delivery in body_of(link, membership, dead.undecodable):
            timeout = f"{membership.group.timeout:g} s"
            error = f"It couldn't be decoded within the group's TIMEOUT of {timeout}, alone in its process."
            self._settle(link, delivery, DeadLetter(Reason.INVALID, Failure(error=error)), undecoded)
        self._settle_overdue(link, body_of(link, membership, dead.overdue))
        for name in dead.stopped:
            take_back(link, membership, name)
        count, vanished = hand_back(link, membership)
        log_vanished(membership, vanished)
        if count:
            logger.warning(
                "%s: %d messages that process %d held were handed back.",
                membership.label, count, dead.pid, extra=about(membership),
            )  # fmt: skip
        if figures := news(membership, [self._counters]):
            run(link, figures)

    def _suspect(self, link: Link, delivery: Delivery, known: Suspect) -> None:
        # A message that wasn't decoded when its process died isn't decoded here: it could end this process, too.
        found = matched_run(self.membership, delivery) if known.decoded else None
        name = found.handler.name if found else ""
        runs = suspect(link, self.membership, delivery, name, known.how)
        if runs is None or delivery.token in self._suspects:
            return
        self._suspects.add(delivery.token)
        runs_again = runs < self.membership.group.max_crashes
        logger.warning(
            "%s: message %r was being %s when its worker %s. It %s.",
            self.membership.label, delivery.history().id, f"run by {name}" if known.decoded else "decoded", known.how,
            "runs next in quarantine" if runs_again else "becomes a dead letter",
            extra={**about(self.membership, delivery), "handler": name},
        )  # fmt: skip
        if found:
            self._ended_with_process(delivery, found, known.how, retried=runs_again)

    def _ended_with_process(self, delivery: Delivery, found: MatchedRun, how: str, *, retried: bool) -> None:
        """Count a run that ended with its process, as a failure, and keep it to be told."""
        self._counters.ran([self._counted_seconds(delivery, found)])
        if retried:  # else the next quarantine dead-letters it, and counts that
            self._counters.retried()
        if signals.has_receivers(signals.message_failed):
            error = WorkerProcessEnded(f"The process that ran it {how}.")
            self.untold.append(partial(send_failed, self._noted(delivery, found, error), retried=retried))

    def _settle_overdue(self, link: Link, overdue: Sequence[Delivery]) -> None:
        """Fail the messages that ran for too long, and make suspects of those in a batch.

        Nobody knows which message of a batch did it, so each of them is run alone.
        """
        in_batches: dict[Handler, list[tuple[Delivery, MatchedRun]]] = {}
        for delivery in overdue:
            if found := matched_run(self.membership, delivery):
                if found.handler.batch:
                    in_batches.setdefault(found.handler, []).append((delivery, found))
                else:
                    self._fail(link, delivery, found)
        for batch in in_batches.values():
            if len(batch) == 1:
                self._fail(link, *batch[0])
            else:
                how = f"had run it, with {len(batch) - 1} others, beyond its TIMEOUT"
                for delivery, _ in batch:
                    self._suspect(link, delivery, Suspect(delivery.token, how))

    def _fail(self, link: Link, delivery: Delivery, found: MatchedRun) -> None:
        group, handler = self.membership.group, found.handler
        timeout = handler.deadline(group, 0.0)
        error = TimeoutError(f"it ran for longer than its TIMEOUT of {timeout:g} s, and its process was ended")
        failure = Failure(handler=handler.name, error=f"TimeoutError: {error}")
        outcome = judge(error, delivery.attempt, handler.policy(group), failure)
        if self._settle(link, delivery, outcome, lambda each: self._noted(each, found, error)):
            self._counters.ran([self._counted_seconds(delivery, found)])

    def _settle(self, link: Link, delivery: Delivery, outcome: Outcome, noted: Callable[[Delivery], Run]) -> bool:
        """Settle, log and count an outcome, and keep what is `noted` of its run to be told; return if it was ours."""
        delivery.outcome = outcome
        ((command, _),) = settle_commands(self.membership, [delivery])
        done = bool(run(link, command))
        log_outcome(self.membership, delivery, done=done)
        if done:
            self._counters.settled(outcome, 1)
            if signals.worker_has_receivers():
                delivery.run = noted(delivery)
                self.untold.append(partial(send_signals, delivery))
        return done

    def _noted(self, delivery: Delivery, found: MatchedRun, error: Exception) -> Run:
        return Run(found.message, found.handler.name, self._seconds(delivery, found), error)

    def _seconds(self, delivery: Delivery, found: MatchedRun) -> float:
        """Return for how many seconds a delivery had run; 0 if its handler has no TIMEOUT: nobody knows its begin."""
        timeout = found.handler.deadline(self.membership.group, 0.0)
        began = self._dead.deadlines.get(delivery.token, inf) - timeout
        return max(0.0, self._dead.ended - began) if isfinite(began) else 0.0

    def _counted_seconds(self, delivery: Delivery, found: MatchedRun) -> float:
        """Return the seconds of a call, for the first message that it was for, and 0 for the others."""
        if found.handler in self._batches:
            return 0.0
        if found.handler.batch:
            self._batches.add(found.handler)
        return self._seconds(delivery, found)
