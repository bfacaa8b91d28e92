"""An entry as it was delivered: where it is pending, and what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...keys import token
from ...outcomes import Outcome
from ...wire import Fields, Origin, RedeliveryMetadata, message_id, split_metadata

__all__ = ["Delivery", "deliveries"]

# [[entry id, [name, value, …]], …], as XREADGROUP, XCLAIM and XRANGE reply.
Entries = Sequence[Any]


class Delivery:
    """One entry in a consumer's hand, as `deliveries` makes it.

    `key` and `entry_id` say where it is pending; `fields` are the original ones. `metadata` is set if it came by the
    redelivery stream, where an entry is deleted when it is settled. `since` is when it was last known to be pending for
    this consumer, on the monotonic clock. `outcome` is what its run has come to. `run` is what the worker notes of the
    run, if somebody wants to hear of it.
    """

    __slots__ = "entry_id", "fields", "key", "metadata", "origin", "outcome", "run", "since"

    origin: Origin
    key: str
    entry_id: str
    fields: Fields
    metadata: RedeliveryMetadata | None
    since: float
    outcome: Outcome | None
    run: object

    @property
    def token(self) -> str:
        """Where the entry is pending, as one word."""
        return token(self.key, self.entry_id)

    @property
    def redelivered(self) -> bool:
        """Whether the entry is in a redelivery stream rather than in the main one."""
        return self.key != self.origin.key

    @property
    def published_id(self) -> str:
        """The id of the entry that was published."""
        return self.metadata.entry if self.metadata else self.entry_id

    @property
    def attempt(self) -> int:
        """The number of this run; the first is 1."""
        return self.metadata.attempt + 1 if self.metadata else 1

    def history(self) -> RedeliveryMetadata:
        """Return what is known of the message so far."""
        if self.metadata:
            return self.metadata
        values = dict(zip(self.fields[::2], self.fields[1::2], strict=True))
        return RedeliveryMetadata(
            id=message_id(self.origin.key, self.entry_id, self.fields),
            source=self.key,
            entry=self.entry_id,
            type=values.get("type", ""),
            lane=self.origin.lane,
            group=self.origin.group,
        )


def deliveries(origin: Origin, key: str, entries: Entries) -> list[Delivery]:
    """Return the deliveries that a reply's entries of one stream are, in their order."""
    made = []
    redelivered = key != origin.key
    for entry_id, fields in entries:
        # Filled by hand: the call of a constructor costs as much as all this.
        delivery = Delivery()
        delivery.origin = origin
        delivery.key = key
        delivery.entry_id = entry_id
        delivery.fields = fields
        delivery.metadata = None
        delivery.since = 0.0
        delivery.outcome = None
        delivery.run = None
        if redelivered and (found := split_metadata(fields)):
            delivery.metadata, delivery.fields = found
        made.append(delivery)
    return made
