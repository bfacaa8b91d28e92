"""The figures that the books of a stream are made of; asking for them is O(groups), however much there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from ..conf import StreamConfig
from ..connections import Link
from .inspect import pairs

__all__ = ["GroupCounters", "counters", "totals"]


class GroupCounters(NamedTuple):
    """One group's figures.

    `main` is XINFO STREAM of the main stream, `on_main` and `on_redelivery` the group's rows of XINFO GROUPS on
    the main and on its redelivery stream: each {} where it isn't there. `redelivered` is the length of the
    latter, `retrying` how many retries wait, `start` the id that START stood for, None where that isn't known.
    """

    main: Mapping[str, Any]
    on_main: Mapping[str, Any]
    on_redelivery: Mapping[str, Any]
    redelivered: int
    retrying: int
    start: str | None
    totals: Mapping[str, int]


def counters(link: Link, stream: StreamConfig, groups: Sequence[str]) -> list[GroupCounters]:
    """The figures of some groups, asked for in one round trip.

    The server reads one after another: while workers work, they may be off by what moved in between.
    """
    keys = stream.keys
    asked = [["XINFO", "STREAM", keys.main], ["XINFO", "GROUPS", keys.main], ["HGETALL", keys.groups]]
    for group in groups:
        redelivery = keys.redelivery(group)
        asked += [
            ["XINFO", "GROUPS", redelivery],
            ["XLEN", redelivery],
            ["ZCARD", keys.retry(group)],
            ["HGETALL", keys.totals(group)],
        ]
    main, on_main, recorded, *rest = [_nothing_if_missing(reply) for reply in link.call_many(asked)]
    return [
        GroupCounters(
            main=pairs(main),
            on_main=_row_of(group, on_main),
            on_redelivery=_row_of(group, rest[4 * index]),
            redelivered=rest[4 * index + 1],
            retrying=rest[4 * index + 2],
            start=pairs(recorded).get(group),
            totals=_counts(rest[4 * index + 3]),
        )
        for index, group in enumerate(groups)
    ]


def totals(link: Link, stream: StreamConfig, group: str) -> Mapping[str, int]:
    """What became of a group's messages since ever, by name."""
    return _counts(link.call("HGETALL", stream.keys.totals(group)))


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
