"""The whole story of one message: whether it is on its stream, and where it stands for each group."""

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

    UNREAD: not delivered yet. PENDING: delivered, not settled. RETRYING: waits for a later run. REDELIVERED: a retry
    or replay that is due, to be read. DEAD: a dead letter. BEFORE: older than where the group begins, so settled
    before the group was made or moved, or never given to it. NO_GROUP: the group isn't there. SETTLED: none of these;
    it was acknowledged, skipped, or discarded. UNKNOWN: not all was looked through that may hold it.
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
    """Where a message stands for one group; `row` is all that is known of it there."""

    group: str
    state: State
    row: PendingMessage | RetryingMessage | DeadLetter | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """How many of the `total` entries of a source were looked through."""

    source: str
    searched: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One message of a stream.

    `message_id` and `entry_id` (of what was published) are "" where they aren't known, `fields` None where the
    entry isn't on its stream (any more). `delayed` is when it will be published. `looked` tells where it was looked for
    in vain without looking through all: only then is what isn't told uncertain.
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
        """What was published, as indented JSON; "" where the entry isn't on its stream."""
        return MessageRecord(
            stream=self.stream, group="", key=self.key, published_id=self.entry_id, fields=self.fields
        ).payload

    @property
    def type(self) -> str:
        """The type of what was published, "" where there is none, or no entry."""
        fields = self.fields or ()
        return dict(zip(fields[::2], fields[1::2], strict=False)).get("type", "")
