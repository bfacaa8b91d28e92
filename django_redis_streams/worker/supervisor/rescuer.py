"""Looks after what a process held that can't do so itself, because it died or its threads can't get on.

It is a process of its own, forked on demand: the supervisor has no connections, ever.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from redis.exceptions import ResponseError

from ... import connections
from ...connections import Link
from ...exceptions import ConfigurationError, ServerUnreachable
from ...handlers import Handler
from ...outcomes import DeadLetter, Failure, Outcome, Reason
from ...retry import judge
from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership
from ...store.consume.ownership import hand_back, renew_all
from ...store.consume.settle import settle_commands
from ...store.consume.suspects import body_of, suspect, take_back
from ...store.replies import group_is_gone
from ...store.scripts import exchange
from ..execution.matching import handler_of
from ..log import about, log_outcome, log_vanished, logger
from ..recurring import refusals
from ..system.os_signals import Signals
from ..timing import Backoff
from ..unreachable import log_reached, log_unreachable, note_stop
from .child import Orphans, Suspect

__all__ = ["GAVE_UP", "renew_for", "rescue_all"]

_TIMEOUT = 5.0
# In seconds: for so long after a SIGTERM it tries what has failed.
_LAST_TRIES = 1.0
# The exit code of a rescuer that has given up.
GAVE_UP = 3


def rescue_all(dead: Iterable[Orphans], supervisor: int, tries: float | None) -> int:
    """Settle what timed out, write down what is suspect, and hand back all else that a dead process held.

    Tries until all is done or the supervisor is gone, at most for `tries` seconds, and for a moment only after a
    SIGTERM. Returns the exit code, 0 if all is done. Each script is fenced on the dead consumers' names, which nobody
    else ever has, so that a step may be done twice.
    """
    left = list(dead)
    backoff = Backoff(least=0.1, most=5.0)
    until = math.inf if tries is None else time.monotonic() + tries
    if tries is not None:
        note_stop()
    with Signals(signal.SIGTERM) as signals:
        while left and os.getppid() == supervisor:
            left = [each for each in left if not _attempted(each.membership, partial(_rescue, dead=each))]
            now = time.monotonic()
            if left and now >= until:
                break
            if left and signals.wait(min(backoff.more(), until - now)):
                note_stop()
                until = min(until, time.monotonic() + _LAST_TRIES)
    refusals.log_due(now=True)
    return GAVE_UP if left else 0


def renew_for(silent: Iterable[Membership]) -> int:
    """Renew once what the consumers of a living process hold, and return the exit code."""
    done = [_attempted(each, partial(renew_all, membership=each)) for each in silent]
    return 0 if all(done) else 1


def _attempted(membership: Membership, work: Callable[[Link], None]) -> bool:
    """Do the work, and return False if it must be tried again. A connection that can't work has held nothing."""
    try:
        link = connections.open(membership.stream.connection, timeout=_TIMEOUT)
        try:
            work(link)
            log_reached(membership.stream.connection)
        finally:
            link.close()
    except ServerUnreachable as error:
        log_unreachable(membership.stream.connection, error)
        return False
    except ResponseError as error:
        if not group_is_gone(error):
            _note_refused(membership, str(error))
            return False
        # With the group went all that was pending.
    except ConfigurationError as error:
        logger.error(
            "Couldn't look after the messages of another process. Correct the connection's settings: %r",
            str(error),
            extra=about(membership),
        )
    return True


def _note_refused(membership: Membership, error: str) -> None:
    def log(count: int) -> None:
        logger.error(
            "Couldn't look after the messages of another process yet: %r (%d times)",
            error, count, extra=about(membership),
        )  # fmt: skip

    refusals.add(("rescue", membership.label), error, 1, log)
    refusals.log_due()


def _rescue(link: Link, dead: Orphans) -> None:
    membership = dead.membership
    for each in dead.suspects:
        for delivery in body_of(link, membership, [each.token]):
            _suspect(link, membership, delivery, each)
    for delivery in body_of(link, membership, dead.undecodable):
        timeout = f"{membership.group.timeout:g} s"
        error = f"It couldn't be decoded within the group's TIMEOUT of {timeout}, alone in its process."
        _settle(link, membership, delivery, DeadLetter(Reason.INVALID, Failure(error=error)))
    _settle_overdue(link, dead, body_of(link, membership, dead.overdue))
    for name in dead.stopped:
        take_back(link, membership, name)
    count, vanished = hand_back(link, membership)
    log_vanished(membership, vanished)
    if count:
        logger.warning(
            "%s: %d messages that process %d held were handed back.",
            membership.label, count, dead.pid, extra=about(membership),
        )  # fmt: skip


def _suspect(link: Link, membership: Membership, delivery: Delivery, known: Suspect) -> None:
    # A message that wasn't decoded when its process died isn't decoded here: it could end this process, too.
    handler = handler_of(membership, delivery) if known.decoded else None
    name = handler.name if handler else ""
    if suspect(link, membership, delivery, name, known.how):
        logger.warning(
            "%s: message %r was being %s when its worker %s. It runs next in quarantine.",
            membership.label, delivery.history().id, f"run by {name}" if known.decoded else "decoded", known.how,
            extra={**about(membership, delivery), "handler": name},
        )  # fmt: skip


def _settle_overdue(link: Link, dead: Orphans, overdue: Sequence[Delivery]) -> None:
    """Fail the messages that ran for too long, and make suspects of those in a batch.

    Nobody knows which message of a batch did it, so each of them is run alone.
    """
    membership = dead.membership
    in_batches: dict[Handler, list[Delivery]] = {}
    for delivery in overdue:
        handler = handler_of(membership, delivery)
        if handler is None:
            continue
        if handler.batch:
            in_batches.setdefault(handler, []).append(delivery)
        else:
            _fail(link, membership, delivery, handler)
    for handler, batch in in_batches.items():
        if len(batch) == 1:
            _fail(link, membership, batch[0], handler)
        else:
            how = f"had run it, with {len(batch) - 1} others, beyond its TIMEOUT"
            for delivery in batch:
                _suspect(link, membership, delivery, Suspect(delivery.token, how))


def _fail(link: Link, membership: Membership, delivery: Delivery, handler: Handler) -> None:
    timeout = membership.group.timeout if handler.timeout is None else handler.timeout
    error = TimeoutError(f"it ran for longer than its TIMEOUT of {timeout:g} s, and its process was ended")
    failure = Failure(handler=handler.name, error=f"TimeoutError: {error}")
    _settle(link, membership, delivery, judge(error, delivery.attempt, handler.policy(membership.group), failure))


def _settle(link: Link, membership: Membership, delivery: Delivery, outcome: Outcome) -> None:
    delivery.outcome = outcome
    ((command, _),) = settle_commands(membership, [delivery])
    (reply,) = exchange(link, [command])
    if isinstance(reply, Exception):
        raise reply
    log_outcome(membership, delivery, done=bool(reply))
