"""The figures that the books of a stream are made of, of each group at one moment; O(groups), however much there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...conf import StreamConfig
from ...connections import Link
from ...keys import paused_field
from ..consume.groups import paused_since
from ..replies import pairs
from ..scripts import Command, exchange, run, script

__all__ = ["GroupCounters", "LaneCounters", "counters", "totals", "undeclared_lanes", "watch"]


class LaneCounters(NamedTuple):
    """One group's figures of one lane, its redelivery included.

    `there` is whether the group is on its stream, `entries` how many there are. `unread` is None where the server can't
    tell.
    """

    name: str
    there: bool
    entries: int
    unread: int | None
    pending: int


class GroupCounters(NamedTuple):
    """One group's figures: of each lane, and `retrying`, how many retries wait.

    `published` is how many messages were published to it, None where that can't be told. `paused` is since when it is
    paused, in ms since 1970, None where it isn't.
    """

    published: int | None
    retrying: int
    paused: int | None
    totals: Mapping[str, int]
    lanes: Sequence[LaneCounters]


def undeclared_lanes(link: Link, stream: StreamConfig) -> list[str]:
    """The lanes that were ever read and that LANES doesn't name, or no longer."""
    recorded = {field.partition(":")[2] for field in link.call("HKEYS", stream.keys.lanes)}
    return sorted(recorded - {*stream.lane_names})


def counters(link: Link, stream: StreamConfig, groups: Sequence[str]) -> list[GroupCounters]:
    """The figures of some groups, of all lanes that are declared or were ever read.

    Each group's are of one moment, exact also while workers work.
    """
    replies = exchange(link, list(_commands(link, stream, groups, "books")))
    return [_counters(_checked(reply)) for reply in replies]


def watch(
    link: Link, stream: StreamConfig, groups: Sequence[str], *, lost_by: str = ""
) -> Mapping[str, Mapping[str, int]]:
    """Enter into the books of some groups what others did to them since the last look; what that was, by group.

    `lost_by` is the counter of what is missing now, where it is known: "dropped".
    """
    commands = list(_commands(link, stream, groups, "watch", lost_by))
    return {group: _counts(run(link, command)) for group, command in zip(groups, commands, strict=True)}


def _commands(
    link: Link, stream: StreamConfig, groups: Sequence[str], name: str, lost_by: str = ""
) -> Iterator[Command]:
    keys, lanes = stream.keys, [*stream.lane_names, *undeclared_lanes(link, stream)]
    # What is missing where entries are dropped unread was dropped.
    lost_by = lost_by or ("" if stream.hard_maxlen is None else "dropped")
    for group in groups:
        names = [keys.groups, keys.lanes, keys.totals(group), keys.retry(group), keys.books(group)]
        names += [key for lane in lanes for key in (keys.lane(lane), keys.redelivery(group, lane))]
        yield script(name)(names, group, lost_by, paused_field(group), *lanes)


def _counters(reply: Any) -> GroupCounters:
    published, retrying, paused, counts, lanes = reply
    figures = [LaneCounters(name, bool(there), *rest) for name, there, *rest in lanes]
    return GroupCounters(published, retrying, paused_since(paused), _counts(counts), figures)


def totals(link: Link, places: Sequence[tuple[StreamConfig, str]]) -> list[Mapping[str, int]]:
    """What became of the messages of each of some groups since ever, by name; in one round trip."""
    if not places:
        return []
    replies = link.call_many([["HGETALL", stream.keys.totals(group)] for stream, group in places])
    return [_counts(_checked(reply)) for reply in replies]


def _checked(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply


def _counts(reply: Sequence[str]) -> Mapping[str, int]:
    return {name: int(count) for name, count in pairs(reply).items()}
