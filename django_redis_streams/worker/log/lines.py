"""What a worker logs of its messages and groups.

Whatever comes from a message is written with %r, so that its line breaks can't forge a line; tracebacks go
into `extra`, not into the text.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from ...outcomes import Ack, RetryLater
from ...store.consume.books import DONE_BY_OTHERS
from ...store.consume.delivery import Delivery
from ...store.consume.groups import Deletion
from ...store.consume.membership import Membership

__all__ = [
    "NAMED",
    "about",
    "log_deleted",
    "log_done_by_others",
    "log_made_anew",
    "log_outcome",
    "log_paused",
    "log_perhaps_renamed",
    "log_vanished",
    "logger",
]  # fmt: skip

logger = logging.getLogger("django_redis_streams.worker")

_ACKNOWLEDGED: Final = {
    "acknowledged": "%s handled %r",
    "skipped": "%s skipped %r, as no handler takes its type",
    "repeated": "%s left out %r, as its effect was committed before",
}
# How many entries or messages one line names.
NAMED: Final = 5


def about(membership: Membership, delivery: Delivery | None = None) -> Mapping[str, object]:
    """Return the `extra` of a consumer's log lines."""
    extra: dict[str, object] = {
        "stream": membership.stream.name,
        "group": membership.group.name,
        "consumer": membership.consumer,
    }
    if delivery is not None:
        extra |= {"message_id": delivery.history().id, "attempt": delivery.attempt}
    return extra


def log_outcome(membership: Membership, delivery: Delivery, *, done: bool) -> None:
    """Log one settled message; `done` is False where the server had nothing to do for it."""
    outcome = delivery.outcome
    assert outcome is not None
    label, name = membership.label, delivery.history().id
    if not done:
        logger.info(
            "%s: message %r was settled before, or belongs to another consumer now. Nothing was changed.",
            label, name, extra=about(membership, delivery),
        )  # fmt: skip
        return
    if isinstance(outcome, Ack):
        logger.debug(_ACKNOWLEDGED[outcome.total], label, name, extra=about(membership, delivery))
        return
    failure = outcome.failure
    extra = {**about(membership, delivery), "handler": failure.handler, "traceback": failure.traceback}
    if isinstance(outcome, RetryLater):
        logger.warning(
            "%s: attempt %d of %r failed in %s. The next attempt is in %.1f s: %r",
            label, delivery.attempt, name, failure.handler, outcome.delay, failure.error, extra=extra,
        )  # fmt: skip
    else:
        logger.error(
            "%s dead-lettered %r (%s) in attempt %d: %r",
            label, name, outcome.reason, delivery.attempt, failure.error, extra=extra,
        )  # fmt: skip


def log_vanished(membership: Membership, tokens: Sequence[str]) -> None:
    """Log the entries that can't be handled by anybody any more, all in one line that names the first of them."""
    if not tokens:
        return
    named = ", ".join(map(repr, tokens[:NAMED]))
    if len(tokens) == 1:
        text = "%s: entry %s was deleted while it was pending. Nobody can handle it any more."
        logger.error(text, membership.label, named, extra=about(membership))
    else:
        text = "%s: %d entries were deleted while they were pending. Nobody can handle them any more: %s%s"
        more = ", …" if len(tokens) > NAMED else ""
        logger.error(text, membership.label, len(tokens), named, more, extra=about(membership))


def log_paused(membership: Membership, *, paused: bool) -> None:
    """Log that a consumer stops reading because its group is paused, or reads again."""
    if paused:
        text = "%s is paused. This worker reads nothing more of it until `manage.py streams resume %s`."
        logger.warning(text, membership.label, membership.label, extra=about(membership))
    else:
        logger.info("%s was resumed. This worker reads its messages again.", membership.label, extra=about(membership))


def log_deleted(membership: Membership, deleted: Deletion, dropped: int) -> None:
    """Log that a consumer ends because somebody has deleted its group on purpose."""
    logger.warning(
        "%s was deleted by %r at %s. This worker no longer reads it, and drops the %d messages that it had in hand. A "
        "worker that starts from now on creates the group again.",
        membership.label, deleted.by, _time(deleted), dropped, extra=about(membership),
    )  # fmt: skip


def log_made_anew(membership: Membership, deleted: Deletion) -> None:
    """Log that a worker that starts makes a group anew that was deleted before."""
    logger.warning(
        "%s was deleted by %r at %s. This worker creates it again, and it begins at its START, %r.",
        membership.label, deleted.by, _time(deleted), membership.group.start, extra=about(membership),
    )  # fmt: skip


def log_perhaps_renamed(membership: Membership, position: str, others: Mapping[str, str]) -> None:
    """Log that a group is new beside others that were served and aren't declared now: it may be one of them."""
    logger.warning(
        "%s was created on the server, and begins after %s. The settings don't declare %s any more. If that was "
        "renamed, its messages are handled again or left out: stop this worker, and ask manage.py streams doctor.",
        membership.label, position, " and ".join(f"{name!r}, which is at {last}" for name, last in others.items()),
        extra=about(membership),
    )  # fmt: skip


def log_done_by_others(membership: Membership, found: Mapping[str, int]) -> None:
    """Log what others did to a group since its books were looked at last."""
    for name, count in found.items():
        logger.warning(
            "%s: %s. The books of the group count %d messages as %r.",
            membership.label, DONE_BY_OTHERS[name], count, name, extra=about(membership),
        )  # fmt: skip


def _time(deleted: Deletion) -> str:
    return f"{datetime.fromtimestamp(deleted.at / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
