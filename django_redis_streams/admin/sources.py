"""The kinds of messages: how the admin lists each, finds it by key, and makes a model instance of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .. import inspection, models
from ..exceptions import UnknownStream
from ..inspection import DeadLetter, DelayedMessage, MessageRecord, Page, PendingMessage, RetryingMessage
from ..models import StreamMessage
from .identity import join, split
from .text import shortened

__all__ = ["DEAD_LETTERS", "DELAYED", "PENDING", "RETRYING", "MessageSource"]

# The texts that name a message within its stream.
Identity = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MessageSource:
    """One kind of messages.

    `page` is a listing of `inspection`, `find` returns the rows of some identities of a stream; both with `bodies` or
    without. An `identity` has `parts` texts; `columns` are the model's fields beyond those that all message
    models have.
    """

    model: type[Any]
    page: Callable[..., Page[Any]]
    find: Callable[..., Sequence[MessageRecord | None]]
    identity: Callable[[Any], Identity]
    parts: int
    columns: Callable[[Any], dict[str, Any]] = lambda _: {}

    def is_key(self, key: str) -> bool:
        """Return whether a text can be the primary key of such a message."""
        return split(key, 1 + self.parts) is not None

    def rows(self, keys: Sequence[str], *, bodies: bool) -> list[MessageRecord]:
        """Return the rows with these keys, without missing ones; with their `bodies`, or without."""
        wanted: dict[str, list[Identity]] = defaultdict(list)
        for key in dict.fromkeys(keys):
            parts = split(key, 1 + self.parts)
            if parts:
                wanted[parts[0]].append(parts[1:])
        return [row for stream, identities in wanted.items() for row in self._of_stream(stream, identities, bodies)]

    def instance(self, row: MessageRecord) -> StreamMessage:
        """Return a row as an instance of the model; the instance's `row` is the row."""
        instance: StreamMessage = self.model(
            id=join(row.stream, *self.identity(row)),
            message_id=shortened(row.message_id),
            stream=shortened(row.stream),
            group=shortened(row.group),
            type=shortened(row.type),
            attempts=row.attempts,
            **self.columns(row),
        )
        instance.row = row
        return instance

    def _of_stream(self, stream: str, identities: Sequence[Identity], bodies: bool) -> list[MessageRecord]:
        try:
            return [row for row in self.find(stream, identities, bodies=bodies) if row]
        except UnknownStream:
            return []


def _find_dead_letters(stream: str, identities: Sequence[tuple[str]], *, bodies: bool) -> Sequence[DeadLetter | None]:
    return inspection.find_dead_letters(stream, [entry_id for (entry_id,) in identities], bodies=bodies)


def _find_delayed(stream: str, identities: Sequence[tuple[str]], *, bodies: bool) -> Sequence[DelayedMessage | None]:
    return inspection.find_delayed(stream, [token for (token,) in identities], bodies=bodies)


def _pending_columns(row: PendingMessage) -> dict[str, Any]:
    return {"consumer": shortened(row.consumer), "deliveries": row.deliveries}


def _retrying_identity(row: RetryingMessage) -> Identity:
    return row.group, row.token


def _pending_identity(row: PendingMessage) -> Identity:
    return row.group, row.source, row.entry_id


DEAD_LETTERS: Final = MessageSource(
    model=models.DeadLetter,
    page=inspection.dead_letters,
    find=_find_dead_letters,
    identity=lambda row: (row.entry_id,),
    parts=1,
    columns=lambda row: {"reason": shortened(row.reason)},
)
RETRYING: Final = MessageSource(
    model=models.RetryingMessage,
    page=inspection.retrying,
    find=inspection.find_retrying,
    identity=_retrying_identity,
    parts=2,
)
DELAYED: Final = MessageSource(
    model=models.DelayedMessage,
    page=inspection.delayed,
    find=_find_delayed,
    identity=lambda row: (row.token,),
    parts=1,
)
PENDING: Final = MessageSource(
    model=models.PendingMessage,
    page=inspection.pending,
    find=inspection.find_pending,
    identity=_pending_identity,
    parts=3,
    columns=_pending_columns,
)
