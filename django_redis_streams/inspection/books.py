"""The books of a group: everything that was published to it, and what became of it.

published + replayed = acknowledged + skipped + dead-lettered + vanished + discarded + still waiting. What was
published is what the main stream counts, the rest what the group's own figures say: neither is derived from
the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import conf, connections
from ..conf import StreamConfig
from ..connections import Link
from ..store.counters import GroupCounters, LaneCounters, counters, totals, undeclared_lanes
from ..store.inspect import group_names
from .rows import moment, numbers
from .servers import by_server

__all__ = ["Books", "books", "declared_totals", "group_totals", "left_in_lanes", "unread"]

# A group that began here was meant to get everything.
_FROM_THE_START = ("0", "0-0")

_COUNTED = {
    "acknowledged", "skipped", "dead_lettered", "discarded", "vanished", "retried", "replayed",
    "discarded_dead_letters",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """How many messages of a stream one group has in which state, and had since ever.

    `published` is how many entries the main stream ever got; None where the server doesn't count them (before
    Redis 7.0) or the group didn't begin at the first. `unread` (undelivered, redelivery included) is None
    where the server can't tell, as after deletions. `retrying` waits for a later run, `pending` is delivered
    and not settled. `discarded` were discarded from retry; `discarded_dead_letters` after they were
    dead-lettered, so they count there too. `retried` and `replayed` count each time. `paused` is since when.
    """

    stream: str
    group: str
    published: int | None
    unread: int | None
    pending: int
    retrying: int
    paused: datetime | None = None
    acknowledged: int = 0
    skipped: int = 0
    dead_lettered: int = 0
    discarded: int = 0
    vanished: int = 0
    retried: int = 0
    replayed: int = 0
    discarded_dead_letters: int = 0

    @property
    def settled(self) -> int:
        """How many runs of the books ended: a replayed message ends once more."""
        return self.acknowledged + self.skipped + self.dead_lettered + self.discarded + self.vanished

    @property
    def waiting(self) -> int | None:
        """How many will still be run."""
        return None if self.unread is None else self.unread + self.pending + self.retrying

    @property
    def missing(self) -> int | None:
        """How many are nowhere: 0 where the books balance, None where that can't be told."""
        if self.published is None or self.waiting is None:
            return None
        return self.published + self.replayed - self.settled - self.waiting


def books(stream: str) -> list[Books]:
    """The books of each group of a stream, declared or not; exact while nothing moves, O(groups).

    Raises `UnknownStream`, and what a server answers: `ServerUnreachable`, redis-py's `ResponseError`.
    """
    config = conf.stream(stream)
    link = connections.get(config.connection)
    groups = group_names(link, [config])[0]
    return [_books(stream, group, each) for group, each in zip(groups, counters(link, config, groups), strict=True)]


def group_totals(stream: str, group: str) -> Mapping[str, int]:
    """What became of a group's messages since ever: {"acknowledged": 6911, "dead-lettered": 8, …}.

    A name that isn't there counts 0. Raises what `books` raises.
    """
    config = conf.stream(stream)
    (counts,) = totals(connections.get(config.connection), [(config, group)])
    return counts


def declared_totals(streams: Sequence[str]) -> Mapping[tuple[str, str], Mapping[str, int]]:
    """What became of the messages of each group that some streams declare, by stream and group, as `group_totals`.

    One round trip for each server. Raises what `books` raises.
    """
    found: dict[tuple[str, str], Mapping[str, int]] = {}
    for theirs in by_server(map(conf.stream, streams)):
        places = [(stream, group) for stream in theirs for group in stream.groups]
        link = connections.get(theirs[0].connection)
        for (stream, group), counts in zip(places, totals(link, places), strict=True):
            found[stream.name, group] = counts
    return found


def left_in_lanes(link: Link, stream: StreamConfig) -> list[tuple[str, str, int]]:
    """What waits in lanes that LANES no longer names, so that nobody reads it: (lane, group, how many at most)."""
    if not undeclared_lanes(link, stream):
        return []
    groups = group_names(link, [stream])[0]
    found = []
    for group, counted in zip(groups, counters(link, stream, groups), strict=True):
        for name, lane in counted.lanes.items():
            if name not in stream.lane_names and lane.on_main:
                waiting = _waiting(lane)
                pending = lane.on_main["pending"] + lane.on_redelivery.get("pending", 0)
                # Where the server can't tell what is unread, it may be all that is there.
                there = lane.main.get("length", 0) + lane.redelivered
                found.append((name, group, there if waiting is None else waiting + pending))
    return [each for each in found if each[2]]


def _books(stream: str, group: str, counted: GroupCounters) -> Books:
    lanes = counted.lanes.values()
    pending = sum(each.on_main.get("pending", 0) + each.on_redelivery.get("pending", 0) for each in lanes)
    ever = {name.replace("-", "_"): count for name, count in counted.totals.items()}
    return Books(
        stream=stream,
        group=group,
        published=_published(counted),
        unread=_sum(_waiting(each) for each in lanes),
        pending=pending,
        retrying=counted.retrying,
        paused=None if counted.paused is None else moment(counted.paused),
        **{name: count for name, count in ever.items() if name in _COUNTED},
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(filter(None, known))


def _waiting(lane: LaneCounters) -> int | None:
    unread = _unread(lane.main, lane.on_main)
    # What is settled in redelivery is deleted, so what isn't pending is unread.
    return None if unread is None else unread + max(0, lane.redelivered - lane.on_redelivery.get("pending", 0))


def _published(counted: GroupCounters) -> int | None:
    if not (counted.start is None or counted.start in _FROM_THE_START) and any(
        each.main for each in counted.lanes.values()
    ):
        return None
    return _sum(each.main.get("entries-added") if each.main else 0 for each in counted.lanes.values())


def _unread(main: Mapping[str, Any], group: Mapping[str, Any]) -> int | None:
    if not main or not group:
        return int(main.get("length", 0))
    first = main["first-entry"][0] if main["first-entry"] else None
    return unread(main["length"], first, main["last-generated-id"], group["last-delivered-id"], group.get("lag"))


def unread(length: int, first: str | None, last_generated: str, last_delivered: str, lag: int | None) -> int | None:
    """How much a group wasn't given yet: what the server says, or what it must be at either end of the stream."""
    delivered = numbers(last_delivered)
    if delivered >= numbers(last_generated):
        return 0
    return length if first is not None and numbers(first) > delivered else lag
