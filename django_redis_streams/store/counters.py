"""The figures that the books of a stream are made of; asking for them is O(groups), however much there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from ..conf import StreamConfig
from ..connections import Link
from ..keys import paused_field
from .groups import paused_since
from .inspect import pairs
from .scripts import Command

__all__ = ["GroupCounters", "LaneCounters", "counters", "totals", "undeclared_lanes"]


class LaneCounters(NamedTuple):
    """One group's figures of one lane.

    `main` is XINFO STREAM of the lane's stream, `on_main` and `on_redelivery` the group's rows of XINFO GROUPS on it
    and on its redelivery stream: each {} where it isn't there. `redelivered` is the length of the latter.
    """

    main: Mapping[str, Any]
    on_main: Mapping[str, Any]
    on_redelivery: Mapping[str, Any]
    redelivered: int


class GroupCounters(NamedTuple):
    """One group's figures: of each lane, and `retrying`, how many retries wait.

    `start` is the id that START stood for, None where that isn't known; `paused` since when it is paused, in ms since
    1970, None where it isn't.
    """

    lanes: Mapping[str, LaneCounters]
    retrying: int
    start: str | None
    paused: int | None
    totals: Mapping[str, int]


def undeclared_lanes(link: Link, stream: StreamConfig) -> list[str]:
    """The lanes that were ever read and that LANES doesn't name, or no longer."""
    recorded = {field.partition(":")[2] for field in link.call("HKEYS", stream.keys.lanes)}
    return sorted(recorded - {*stream.lane_names})


def counters(link: Link, stream: StreamConfig, groups: Sequence[str]) -> list[GroupCounters]:
    """The figures of some groups, of all lanes that are declared or were ever read.

    The server reads one after another: while workers work, they may be off by what moved in between.
    """
    keys = stream.keys
    (recorded,) = _all(link, [["HGETALL", keys.groups]])
    known = pairs(recorded)
    names = [*stream.lane_names, *undeclared_lanes(link, stream)]
    ask: list[Command] = [
        command
        for each in names
        for command in (["XINFO", "STREAM", keys.lane(each)], ["XINFO", "GROUPS", keys.lane(each)])
    ]
    for group in groups:
        ask += [["ZCARD", keys.retry(group)], ["HGETALL", keys.totals(group)]]
        for each in names:
            redelivery = keys.redelivery(group, each)
            ask += [["XINFO", "GROUPS", redelivery], ["XLEN", redelivery]]
    replies = iter(_all(link, ask))
    mains = {each: (pairs(next(replies)), next(replies)) for each in names}

    def of_group(group: str) -> GroupCounters:
        retrying, counts = next(replies), next(replies)
        lanes = {
            each: LaneCounters(main, _row_of(group, on_main), _row_of(group, next(replies)), next(replies))
            for each, (main, on_main) in mains.items()
        }
        since = paused_since(known.get(paused_field(group)))
        return GroupCounters(lanes, retrying, known.get(group), since, _counts(counts))

    return [of_group(group) for group in groups]


def _all(link: Link, commands: Sequence[Command]) -> list[Any]:
    return [_nothing_if_missing(reply) for reply in link.call_many(commands)]


def totals(link: Link, places: Sequence[tuple[StreamConfig, str]]) -> list[Mapping[str, int]]:
    """What became of the messages of each of some groups since ever, by name; in one round trip."""
    if not places:
        return []
    return list(map(_counts, _all(link, [["HGETALL", stream.keys.totals(group)] for stream, group in places])))


def _nothing_if_missing(reply: Any) -> Any:
    if isinstance(reply, ResponseError) and "no such key" in str(reply):
        return []
    if isinstance(reply, Exception):
        raise reply
    return reply


def _row_of(group: str, rows: Iterable[Sequence[Any]]) -> Mapping[str, Any]:
    return next((row for row in map(pairs, rows) if row["name"] == group), {})


def _counts(reply: Sequence[str]) -> Mapping[str, int]:
    return {name: int(count) for name, count in pairs(reply).items()}
