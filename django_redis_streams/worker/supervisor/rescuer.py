"""Looks after what a process held that can't do so itself: one that died, or one whose threads can't get on.

It is a process of its own, forked on demand: the supervisor has no connections, ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence

from redis.exceptions import ResponseError

from ... import connections, handlers
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
from ...wire import Undecodable, decode_entry
from ..backoff import Patience
from ..log import about, logger, tell, tell_vanished
from .child import Remains, Suspect

__all__ = ["renew_for", "wind_up"]

_TIMEOUT = 5.0


def wind_up(dead: Iterable[Remains], supervisor: int) -> int:
    """Settle what timed out, write down what is suspect, and hand back all else that a dead process held.

    Tried until it is done, or the supervisor is gone; the exit code. Each script is fenced on the dead consumers'
    names, which nobody else ever has, so that a step may be done twice.
    """
    left = list(dead)
    patience = Patience(least=0.1, most=5.0)
    while left and os.getppid() == supervisor:
        left = [each for each in left if not _attempted(each.membership, lambda link, each=each: _wind_up(link, each))]  # type: ignore[misc]
        if left:
            time.sleep(patience.more())
    return 1 if left else 0


def renew_for(silent: Iterable[Membership]) -> int:
    """Renew once what the consumers of a living process hold; the exit code."""
    done = [_attempted(each, lambda link, each=each: renew_all(link, each)) for each in silent]  # type: ignore[misc]
    return 0 if all(done) else 1


def _attempted(place: Membership, work: Callable[[Link], None]) -> bool:
    """Whether it needs no other try: it is done, or the connection can't work, and then nothing could be held by it."""
    try:
        link = connections.open(place.stream.connection, timeout=_TIMEOUT)
        try:
            work(link)
        finally:
            link.close()
    except (ServerUnreachable, ResponseError) as error:
        if group_is_gone(error):  # and with it all that was pending
            return True
        logger.error("What another process held can't be looked after yet: %r", str(error), extra=about(place))
        return False
    except ConfigurationError as error:
        logger.error("What another process held can't be looked after: %r", str(error), extra=about(place))
    return True


def _wind_up(link: Link, dead: Remains) -> None:
    place = dead.membership
    for each in dead.suspects:
        for delivery in body_of(link, place, [each.token]):
            _suspect(link, place, delivery, each)
    for delivery in body_of(link, place, dead.undecodable):
        error = f"It couldn't be decoded within the group's TIMEOUT of {place.group.timeout:g} s, alone in its process."
        _settle(link, place, delivery, DeadLetter(Reason.INVALID, Failure(error=error)))
    _settle_overdue(link, dead, body_of(link, place, dead.overdue))
    for name in dead.stopped:
        take_back(link, place, name)
    count, vanished = hand_back(link, place)
    tell_vanished(place, vanished)
    if count:
        logger.warning("Messages handed back that a dead process held: %d.", count, extra=about(place))


def _suspect(link: Link, place: Membership, delivery: Delivery, known: Suspect) -> None:
    # What was not decoded when its process died isn't decoded here: this one would be the next.
    handler = _handler_of(place, delivery) if known.decoded else None
    name = handler.name if handler else ""
    if suspect(link, place, delivery, name, known.how):
        logger.warning(
            "%s: %r was being %s when its worker %s; it goes on in quarantine.",
            place.place, delivery.history().id, f"run by {name}" if known.decoded else "decoded", known.how,
            extra={**about(place, delivery), "handler": name},
        )  # fmt: skip


def _settle_overdue(link: Link, dead: Remains, overdue: Sequence[Delivery]) -> None:
    """What ran for too long has failed. Of a batch nobody knows which message did it: each of them is run alone."""
    place = dead.membership
    in_batches: dict[Handler, list[Delivery]] = {}
    for delivery in overdue:
        handler = _handler_of(place, delivery)
        if handler is None:
            continue
        if handler.batch:
            in_batches.setdefault(handler, []).append(delivery)
        else:
            _fail(link, place, delivery, handler)
    for handler, batch in in_batches.items():
        if len(batch) == 1:
            _fail(link, place, batch[0], handler)
        else:
            how = f"had run it, with {len(batch) - 1} others, beyond its TIMEOUT"
            for delivery in batch:
                _suspect(link, place, delivery, Suspect(delivery.token, how))


def _fail(link: Link, place: Membership, delivery: Delivery, handler: Handler) -> None:
    timeout = place.group.timeout if handler.timeout is None else handler.timeout
    error = TimeoutError(f"it ran for longer than its TIMEOUT of {timeout:g} s, and its process was ended")
    failure = Failure(handler=handler.name, error=f"TimeoutError: {error}")
    _settle(link, place, delivery, judge(error, delivery.attempt, handler.policy(place.group), failure))


def _settle(link: Link, place: Membership, delivery: Delivery, outcome: Outcome) -> None:
    delivery.outcome = outcome
    ((command, _),) = settle_commands(place, [delivery])
    (reply,) = exchange(link, [command])
    if isinstance(reply, Exception):
        raise reply
    tell(place, delivery, done=bool(reply))


def _handler_of(place: Membership, delivery: Delivery) -> Handler | None:
    """The handler that was running this; None where it can't be told any more."""
    try:
        message = decode_entry(delivery)
    except Undecodable:
        return None
    return handlers.of(place.stream.name, place.group.name).find(message.type)
