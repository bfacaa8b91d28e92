"""The story of one message: whether it is on its stream, and where it stands for each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ..keys import DEFAULT_LANE
from ..wire import Fields
from .records import DeadLetter, MessageRecord, PendingMessage, RetryingMessage

__all__ = ["Looked", "Standing", "State", "Story"]


class State(StrEnum):
    """Where a message stands for a group.

    UNREAD: not delivered yet. PENDING: delivered, not settled. RETRYING: waits for a later run. REDELIVERED: a due
    retry or replay, to be read. DEAD: a dead letter. BEFORE: older than the group's start, so settled before the group
    was made or moved, or never given to it. NO_GROUP: the group isn't there. SETTLED: none of these; it was
    acknowledged, skipped, or discarded. UNKNOWN: the search ended before it had looked at all entries.
    """

    UNREAD = "unread"
    PENDING = "pending"
    RETRYING = "retrying"
    REDELIVERED = "redelivered"
    DEAD = "dead letter"
    BEFORE = "before the group's start"
    NO_GROUP = "no such group"
    SETTLED = "settled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a message stands for one group; `row` is the message's record there."""

    group: str
    state: State
    row: PendingMessage | RetryingMessage | DeadLetter | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """A source of `total` entries, of which the search looked at `searched`."""

    source: str
    searched: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One message of a stream.

    `message_id` and `entry_id` (of the published entry) are "" where they aren't known, `fields` is None where the
    entry isn't on its stream (any more). `delayed` is when it will be published. `looked` names the sources that were
    searched in part and in vain: only with one of these is the rest of the story uncertain.
    """

    stream: str
    lane: str = DEFAULT_LANE
    key: str = ""
    message_id: str = ""
    entry_id: str = ""
    fields: Fields | None = None
    delayed: datetime | None = None
    groups: Sequence[Standing] = ()
    looked: Sequence[Looked] = ()

    @property
    def found(self) -> bool:
        """Whether anything is known of it."""
        known = any(each.row is not None or each.state is State.REDELIVERED for each in self.groups)
        return known or self.fields is not None or self.delayed is not None

    @property
    def payload(self) -> str:
        """The published payload as indented JSON; "" where the entry isn't on its stream."""
        return MessageRecord(
            stream=self.stream, group="", key=self.key, published_id=self.entry_id, fields=self.fields
        ).payload

    @property
    def type(self) -> str:
        """The published type; "" without a type or without the entry."""
        fields = self.fields or ()
        return dict(zip(fields[::2], fields[1::2], strict=False)).get("type", "")
