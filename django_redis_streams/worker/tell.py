"""Telling what became of a message: a log line, and a signal where somebody listens.

Whatever comes from a message is written with %r, so that its line breaks can't forge a line; tracebacks go
into `extra`, not into the text.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ..outcomes import Ack, DeadLetter, RetryLater
from ..store.delivery import Delivery
from ..store.membership import Membership
from ..store.settle import Settled

__all__ = ["about", "logger", "tell"]

logger = logging.getLogger("django_redis_streams.worker")


def about(membership: Membership, delivery: Delivery | None = None) -> Mapping[str, object]:
    """The `extra` of every log line of a consumer."""
    extra: dict[str, object] = {
        "stream": membership.stream.name,
        "group": membership.group.name,
        "consumer": membership.consumer,
    }
    if delivery is not None:
        extra |= {"message_id": delivery.history().id, "attempt": delivery.attempt}
    return extra


def tell(membership: Membership, settled: Settled, *, done: bool) -> None:
    """Log one settled message; `done` is False where the server had nothing to do for it."""
    delivery, outcome = settled
    if not done:
        logger.info(
            "%s:%s: %r was settled before, or is another consumer's by now: nothing was changed.",
            *_place(membership, delivery), extra=about(membership, delivery),
        )  # fmt: skip
        return
    if isinstance(outcome, Ack):
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s:%s handled %r", *_place(membership, delivery), extra=about(membership, delivery))
        return
    extra = {
        **about(membership, delivery),
        "handler": outcome.failure.handler,
        "traceback": outcome.failure.traceback,
    }
    if isinstance(outcome, RetryLater):
        logger.warning(
            "%s:%s will run %r again in %.1f s: attempt %d of %s ended in %r",
            *_place(membership, delivery), outcome.delay, delivery.attempt,
            outcome.failure.handler, outcome.failure.error, extra=extra,
        )  # fmt: skip
    elif isinstance(outcome, DeadLetter):
        logger.error(
            "%s:%s dead-lettered %r (%s) in attempt %d: %r",
            *_place(membership, delivery), outcome.reason, delivery.attempt, outcome.failure.error, extra=extra,
        )  # fmt: skip


def _place(membership: Membership, delivery: Delivery) -> tuple[str, str, str]:
    return membership.stream.name, membership.group.name, delivery.history().id
