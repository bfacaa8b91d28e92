"""One consumer of one group of one stream, with the keys that it reads from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ...conf import GroupConfig, StreamConfig
from ...keys import StreamKeys
from ...wire import Origin

__all__ = ["RETURNED", "Membership"]

# Entries that were handed back are pending for this name; nobody reads under it.
RETURNED = "returned"


@dataclass(frozen=True)
class Membership:
    """A consumer of a group; `consumer` is its name, unique for ever."""

    stream: StreamConfig
    group: GroupConfig
    consumer: str

    @property
    def keys(self) -> StreamKeys:
        """The keys of the stream."""
        return self.stream.keys

    @property
    def label(self) -> str:
        """Stream and group as people write them: `orders:billing`."""
        return f"{self.stream.name}:{self.group.name}"

    @property
    def main(self) -> str:
        """The stream that producers append to."""
        return self.keys.main

    @property
    def redelivery(self) -> str:
        """The stream of the group's own due retries and replays, of the default lane."""
        return self.keys.redelivery(self.group.name)

    @cached_property
    def origins(self) -> Mapping[str, Origin]:
        """The streams it reads, in the order of reading: for each lane its redelivery, then the lane itself."""
        found = {}
        for lane in self.stream.lane_names:
            key = self.keys.lane(lane)
            origin = Origin(stream=self.stream.name, group=self.group.name, key=key, lane=lane)
            found[self.keys.redelivery(self.group.name, lane)] = found[key] = origin
        return found

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The keys of the streams it reads, in the order of reading."""
        return tuple(self.origins)

    def is_redelivery(self, key: str) -> bool:
        """Return whether a stream that it reads is a redelivery stream, where nobody else reads."""
        return self.origins[key].key != key

    @property
    def claim_idle_ms(self) -> int:
        """CLAIM_IDLE as commands take it."""
        return max(1, round(self.group.claim_idle * 1000))
