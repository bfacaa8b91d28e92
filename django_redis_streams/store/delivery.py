"""An entry as it was delivered: where it is pending, and what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..keys import token
from ..message import Message
from ..outcomes import Outcome
from ..wire import Carried, Fields, Origin, message_id, uncarry
from .membership import Membership

__all__ = ["Delivery", "Run", "deliveries"]

# [[entry id, [name, value, …]], …], as XREADGROUP, XCLAIM and XRANGE reply.
Entries = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One run, for those who listen: the handler's dotted name ("" where there was none), the seconds it took."""

    message: Message
    handler: str = ""
    duration: float = 0.0
    error: BaseException | None = None


class Delivery:
    """One entry in a consumer's hand.

    `key` and `entry_id` say where it is pending; `fields` are the original ones; `carried` is set where it
    came by the redelivery stream, which is ours: there an entry is deleted when it is settled. `since` is when
    it was last known to be pending for this consumer, on the monotonic clock; `outcome`, what its run has come to.
    """

    __slots__ = "carried", "entry_id", "fields", "key", "origin", "outcome", "run", "since"

    def __init__(self, origin: Origin, key: str, entry_id: str, fields: Fields, carried: Carried | None = None) -> None:
        self.origin = origin
        self.key = key
        self.entry_id = entry_id
        self.fields = fields
        self.carried = carried
        self.since = 0.0
        self.outcome: Outcome | None = None
        # What running it was like, where somebody wants to hear of it.
        self.run: Run | None = None

    @property
    def token(self) -> str:
        """Where it is pending, as one word."""
        return token(self.key, self.entry_id)

    @property
    def ours(self) -> bool:
        """Whether the entry is in a redelivery stream rather than in the main one."""
        return self.key != self.origin.key

    @property
    def published_id(self) -> str:
        """The id of the entry that was published."""
        return self.carried.entry if self.carried else self.entry_id

    @property
    def attempt(self) -> int:
        """The number of this run; the first is 1."""
        return self.carried.attempt + 1 if self.carried else 1

    def history(self) -> Carried:
        """What is known of the message so far."""
        if self.carried:
            return self.carried
        values = dict(zip(self.fields[::2], self.fields[1::2], strict=True))
        return Carried(
            id=message_id(self.origin.key, self.entry_id, self.fields),
            source=self.key,
            entry=self.entry_id,
            type=values.get("type", ""),
            lane=self.origin.lane,
            group=self.origin.group,
        )


def deliveries(membership: Membership, key: str, entries: Entries) -> list[Delivery]:
    """What a reply's entries of one stream are, in their order."""
    origin = membership.origins[key]
    if key == origin.key:
        return [Delivery(origin, key, entry_id, fields) for entry_id, fields in entries]
    return [_redelivered(origin, key, *each) for each in entries]


def _redelivered(origin: Origin, key: str, entry_id: str, fields: Fields) -> Delivery:
    carried, original = uncarry(fields) or (None, fields)
    return Delivery(origin, key, entry_id, original, carried)
