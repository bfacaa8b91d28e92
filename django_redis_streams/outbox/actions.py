"""What a person does with unsent messages, for the admin and commands alike: find them, send them now, discard them.

A message that its publisher or a relay is just sending is left alone by both verbs: what they say of a row would be
wrong a moment later. Errors of a database are raised as `OutboxUnavailable`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from django.db import connections, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from ..querying import check_commits, exactly, takes
from .databases import asking
from .models import OutboxMessage
from .standing import HELD, SENDING, all_rows, unsent

__all__ = ["discard", "find", "send_now", "stuck"]

logger = logging.getLogger("django_redis_streams")

# Rows that are locked and changed at once.
_AT_ONCE: Final = 500
# The digits of what is surely the key of a row: a database takes no larger number than a column holds.
_DIGITS: Final = 18


def find(using: str, *, ids: Sequence[str] | None = None, stream: str | None = None) -> list[int]:
    """Return the ids of the unsent rows of a database: of a stream, or those that are named by row or by message."""
    found = unsent(using)
    if stream is not None:
        found = found.filter(exactly("stream", [each for each in [stream] if takes(each)]))
    if ids is not None:
        numbers = [int(each) for each in ids if each.isascii() and each.isdecimal() and len(each) <= _DIGITS]
        found = found.filter(Q(pk__in=numbers) | Q(message_id__in=filter(takes, ids)))
    with asking(using):
        return list(found.order_by("pk").values_list("pk", flat=True))


def stuck(using: str) -> int:
    """Return how many messages of a database are due, or were refused: all but those that are just being sent."""
    with asking(using):
        return unsent(using).exclude(SENDING).count()


def send_now(using: str, ids: Iterable[int], *, by: str) -> list[int]:
    """Have the relay try these rows at its next look, and what waits behind them; return the ids of those it will.

    Each is logged with the user's name, `by`.
    """
    return _done(using, ids, _make_due, "made due", by)


def discard(using: str, ids: Iterable[int], *, by: str) -> list[int]:
    """Delete these rows for good, and return the ids of those that are gone by it; what waits behind them is due.

    Each is logged with the user's name, `by`.
    """
    return _done(using, ids, _delete, "discarded", by)


def _done(
    using: str, ids: Iterable[int], change: Callable[[QuerySet[OutboxMessage]], None], what: str, by: str
) -> list[int]:
    done: list[int] = []
    for some in _pieces(ids):
        with asking(using):
            check_commits(using)
        with asking(using), transaction.atomic(using=using):
            found = _free(using, some)
            change(all_rows(using).filter(pk__in=[row.pk for row in found]))
        _log(what, found, by)
        _wake(using, found)
        done += [row.pk for row in found]
    return done


def _make_due(found: QuerySet[OutboxMessage]) -> None:
    found.filter(next_try_at__gt=Now()).update(next_try_at=Now())


def _delete(found: QuerySet[OutboxMessage]) -> None:
    found.delete()


def _pieces(ids: Iterable[int]) -> Iterator[Sequence[int]]:
    every = sorted(set(ids))
    for start in range(0, len(every), _AT_ONCE):
        yield every[start : start + _AT_ONCE]


def _free(using: str, ids: Sequence[int]) -> Sequence[OutboxMessage]:
    """Return the rows that nobody is about to send, and keep others from beginning to."""
    free = unsent(using).filter(pk__in=ids).exclude(SENDING).order_by("pk")
    features = connections[using].features
    if features.has_select_for_update:
        # What the relay holds is being sent.
        free = free.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
    return list(free.only("message_id", "stream", "key_hash"))


def _wake(using: str, found: Sequence[OutboxMessage]) -> None:
    """Have those looked at again that only wait for an earlier one of these keys.

    After the commit: a relay that holds them would else put them off once more, as it still saw what was discarded.
    """
    keys = {row.key_hash for row in found} - {None}
    if keys:
        with asking(using):
            unsent(using).filter(key_hash__in=keys, error=HELD).update(next_try_at=Now())


def _log(what: str, found: Sequence[OutboxMessage], by: str) -> None:
    for row in found:
        logger.info(
            "Unsent message %s of stream %r was %s by %r.", row.message_id, row.stream, what, by,
            extra={"stream": row.stream, "message_id": row.message_id, "by": by},
        )  # fmt: skip
