"""Looking without touching: what dead letter queues, retry sets, delayed sets and pending lists hold, a page at a time.

A source is one such list of one stream. It can be counted in constant time, and read on from any position in
logarithmic time, however long it is. Nothing here raises a delivery count, moves or renews anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from ...conf import StreamConfig
from ...connections import Link
from ...keys import DEFAULT_LANE, LARGEST_PART, group_of_field
from ...wire import Fields
from ..replies import pairs
from ..scripts import Command, script
from .bounded import HEADS, Entry, Extent, Part, entries_of, in_order, named

__all__ = [
    "BEGIN", "MAIN", "REDELIVERY", "DeadLetters", "Delayed", "Found", "Pending", "Position", "Retries", "Source",
    "group_names", "source_kinds",
]  # fmt: skip

_LARGEST: Final = f"{LARGEST_PART}-{LARGEST_PART}"
MAIN: Final = "main"
REDELIVERY: Final = "redelivery"


class Position(NamedTuple):
    """A position in a source, ascending in the order of reading.

    For entries it is the two numbers of their id (negative where the newest come first); for retries and delayed
    messages, when they are due in ms, 0, and their token.
    """

    first: float
    second: int = 0
    token: str = ""


BEGIN: Final = Position(float("-inf"))


class Found(NamedTuple):
    """One thing in a source.

    `fields` are as stored, None where there is no body (any more) or it wasn't read yet; `size` is how many bytes they
    have on the server, though values that weren't asked for are empty. A retry and a delayed message have a `token` and
    the `lane` that they go to. A pending entry has a `consumer`, its `deliveries`, and `idle_ms`, for how many ms it
    has been idle.
    """

    position: Position
    entry_id: str = ""
    fields: Fields | None = None
    size: int = 0
    token: str = ""
    lane: str = ""
    consumer: str = ""
    idle_ms: int = 0
    deliveries: int = 0

    def holding(self, entry: Entry | None) -> Found:
        """Return a pending entry with what its stream has of it, if that is there."""
        return self._replace(fields=entry.fields, size=entry.size) if entry else self


class Source(Protocol):
    """One list that can be counted, and read in its order."""

    stream: StreamConfig
    group: str

    @property
    def name(self) -> str:
        """The source's name among those of its kind and stream."""

    def size_command(self) -> Command:
        """Ask how many entries there are."""

    def size(self, reply: Any) -> int:
        """Return how many there are."""

    def read_command(self, begin: Position, count: int, extent: Extent, *, behind: bool = False) -> Command:
        """Ask for the next `count` from a position on, or from `behind` it; fewer come where they are large."""

    def part(self, reply: Any, count: int) -> Part[Found]:
        """Return what was read, of `count` that were asked for."""


class DeadLetters:
    """The dead letter queue of a stream, newest first."""

    group = ""
    name = ""

    def __init__(self, stream: StreamConfig) -> None:
        self.stream = stream

    def size_command(self) -> Command:
        """Ask by XLEN, which is O(1)."""
        return ["XLEN", self.stream.keys.dlq]

    def size(self, reply: Any) -> int:
        """Return how many dead letters there are."""
        return int(reply)

    def read_command(self, begin: Position, count: int, extent: Extent, *, behind: bool = False) -> Command:
        """Ask for the next ones, from the newest to the oldest."""
        last = "+" if begin == BEGIN else _bound(_entry_id(-begin.first, -begin.second), behind)
        return in_order(self.stream.keys.dlq, last, "-", count, extent, newest_first=True)

    def part(self, reply: Any, count: int = 0) -> Part[Any]:  # noqa: ARG002  of any source
        """Return the entries that were read, in whatever order; None for each that was named and isn't there."""
        part = entries_of(reply)
        found = [
            each and Found(_descending(each.entry_id), each.entry_id, each.fields, each.size) for each in part.found
        ]
        return Part(part.left, found)

    def some_command(self, identities: Sequence[str], extent: Extent) -> Command:
        """Ask for dead letters by their entry ids."""
        return named(self.stream.keys.dlq, identities, extent)


class Retries:
    """The retries of a group that aren't due yet, the next first."""

    def __init__(self, stream: StreamConfig, group: str) -> None:
        self.stream = stream
        self.group = group
        self.name = group

    def size_command(self) -> Command:
        """Ask by ZCARD, which is O(1)."""
        return ["ZCARD", self._keys[0]]

    def size(self, reply: Any) -> int:
        """Return how many there are."""
        return int(reply)

    def read_command(self, begin: Position, count: int, extent: Extent, *, behind: bool = False) -> Command:
        """Ask for the next ones in the order in which they are due."""
        due = "-inf" if begin == BEGIN else repr(begin.first)
        return script("retries")(self._keys, "due", *extent.words, due, begin.token, int(behind), count)

    def part(self, reply: Any, count: int = 0) -> Part[Any]:  # noqa: ARG002  of any source
        """Return the rows of retries.lua, their fields without the lane; None for each named one that isn't there."""
        left, *rows = reply
        return Part(left, [each and _waiting(*each) for each in rows])

    def some_command(self, identities: Sequence[str], extent: Extent) -> Command:
        """Ask for some by their tokens."""
        return script("retries")(self._keys, "tokens", *extent.words, *identities)

    @property
    def _keys(self) -> list[str]:
        keys = self.stream.keys
        return [keys.retry(self.group), keys.retry_entries(self.group)]


class Delayed(Retries):
    """What is to be published later on a stream, the next first. It belongs to no group."""

    def __init__(self, stream: StreamConfig) -> None:
        super().__init__(stream, "")

    @property
    def _keys(self) -> list[str]:
        keys = self.stream.keys
        return [keys.delayed, keys.delayed_entries]


class Pending:
    """What is pending for a group in one stream that it reads, oldest first. The bodies are read separately."""

    def __init__(self, stream: StreamConfig, group: str, kind: str) -> None:
        self.stream = stream
        self.group = group
        self.kind = kind
        stream_kind, _, lane = kind.partition(":")
        self.lane = lane or DEFAULT_LANE
        self.redelivered = stream_kind != MAIN
        self.key = stream.keys.redelivery(group, self.lane) if self.redelivered else stream.keys.lane(self.lane)

    @classmethod
    def of(cls, stream: StreamConfig, group: str) -> list[Pending]:
        """Return all lists of a group, lane by lane."""
        return [cls(stream, group, kind) for kind in source_kinds(stream)]

    @property
    def name(self) -> str:
        """The group, and which of the streams that it reads."""
        return f"{self.group}/{self.kind}"

    def size_command(self) -> Command:
        """Ask by the summary of XPENDING, which is O(consumers)."""
        return ["XPENDING", self.key, self.group]

    def size(self, reply: Any) -> int:
        """Return how many entries are pending."""
        return int(reply[0])

    def read_command(
        self,
        begin: Position,
        count: int,
        extent: Extent = HEADS,  # noqa: ARG002  of any source
        *,
        behind: bool = False,
    ) -> Command:
        """Ask for the next ones, from the oldest to the newest; no bodies are read, whatever the extent."""
        first = "-" if begin == BEGIN else _bound(_entry_id(begin.first, begin.second), behind)
        return ["XPENDING", self.key, self.group, first, "+", count]

    def part(self, reply: Any, count: int) -> Part[Found]:
        """Return the rows of an XPENDING."""
        found = [
            Found(_ascending(entry_id), entry_id, consumer=consumer, idle_ms=idle, deliveries=deliveries)
            for entry_id, consumer, idle, deliveries in reply
        ]
        return Part(int(len(found) == count), found)

    def one_command(self, identity: str) -> Command:
        """Ask for one pending entry by its id."""
        return ["XPENDING", self.key, self.group, identity, identity, 1]


def source_kinds(stream: StreamConfig) -> list[str]:
    """Return what a group may have pending entries in: "main", "redelivery"; for other lanes "main:high" and so on."""
    suffixes = ["" if lane == DEFAULT_LANE else f":{lane}" for lane in stream.lane_names]
    return [kind + suffix for suffix in suffixes for kind in (MAIN, REDELIVERY)]


def group_names(link: Link, streams: Sequence[StreamConfig]) -> list[list[str]]:
    """Return the groups of each stream: declared here, recorded, or simply there (made by other clients).

    Where the server forbids to look for more, only the declared ones are returned.
    """
    asked: list[Command] = []
    for stream in streams:
        asked += [["HKEYS", stream.keys.groups], ["XINFO", "GROUPS", stream.keys.main]]
    replies = link.call_many(asked)
    names = []
    for stream, recorded, there in zip(streams, replies[::2], replies[1::2], strict=True):
        found = dict.fromkeys(stream.groups)
        found.update(dict.fromkeys(each for each in _listed(recorded) if group_of_field(each) is not None))
        found.update(dict.fromkeys(pairs(each)["name"] for each in _listed(there)))
        names.append(list(found))
    return names


def _listed(reply: Any) -> list[Any]:
    return reply if isinstance(reply, list) else []


def _entry_id(milliseconds: float, sequence: int) -> str:
    """Return the id nearest to two numbers that anybody may have made up."""
    return "-".join(str(max(0, min(int(number), LARGEST_PART))) for number in (milliseconds, sequence))


def _bound(entry_id: str, behind: bool) -> str:
    """Return an id as a bound of a range. Behind the largest there is nothing, and asking for it is an error."""
    return f"({entry_id}" if behind and entry_id != _LARGEST else entry_id


def _ascending(entry_id: str) -> Position:
    milliseconds, _, sequence = entry_id.partition("-")
    return Position(int(milliseconds), int(sequence))


def _descending(entry_id: str) -> Position:
    milliseconds, _, sequence = entry_id.partition("-")
    return Position(-int(milliseconds), -int(sequence))


def _waiting(token: str, score: str, size: int, row: Sequence[str] = ()) -> Found:
    lane, *fields = row or [""]
    return Found(Position(_due(score), 0, token), fields=fields if row else None, size=size, token=token, lane=lane)


def _due(score: str) -> float:
    # Only other clients write a score above 2^53. Beyond that a float isn't exact, and an infinity is no time.
    return max(0.0, min(float(score), 2.0**53))
