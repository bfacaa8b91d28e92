"""Who reads: one consumer of one group of one stream, with the keys that it reads from."""

from __future__ import annotations

from dataclasses import dataclass

from ..conf import GroupConfig, StreamConfig
from ..keys import StreamKeys

__all__ = ["RETURNED", "Membership"]

# What was handed back is pending for this name, which nobody reads as.
RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Membership:
    """A consumer's place; `consumer` is its name, unique for ever."""

    stream: StreamConfig
    group: GroupConfig
    consumer: str

    @property
    def keys(self) -> StreamKeys:
        """The keys of the stream."""
        return self.stream.keys

    @property
    def place(self) -> str:
        """Stream and group as people write them: `orders:billing`."""
        return f"{self.stream.name}:{self.group.name}"

    @property
    def main(self) -> str:
        """The stream that producers append to."""
        return self.keys.main

    @property
    def redelivery(self) -> str:
        """The stream of the group's own due retries and replays."""
        return self.keys.redelivery(self.group.name)

    @property
    def sources(self) -> tuple[str, str]:
        """The streams it reads, in the order of reading."""
        return self.redelivery, self.main

    @property
    def claim_idle_ms(self) -> int:
        """CLAIM_IDLE as commands take it."""
        return max(1, round(self.group.claim_idle * 1000))
