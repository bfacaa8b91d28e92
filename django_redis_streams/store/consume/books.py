"""The books of groups: what others did is entered under the cause that there is a sign of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...conf import StreamConfig
from ...connections import Link
from ..replies import pairs
from ..scripts import run, script

__all__ = ["lanes_ever", "lost_by", "undeclared_lanes", "watch"]


def undeclared_lanes(link: Link, stream: StreamConfig) -> list[str]:
    """Return the lanes that were ever read but that LANES doesn't name (any more)."""
    recorded = {field.partition(":")[2] for field in link.call("HKEYS", stream.keys.lanes)}
    return sorted(recorded - {*stream.lane_names})


def lanes_ever(link: Link, stream: StreamConfig) -> list[str]:
    """Return all lanes: those that are declared, and those that were ever read."""
    return [*stream.lane_names, *undeclared_lanes(link, stream)]


def lost_by(stream: StreamConfig) -> str:
    """Return the counter of missing entries: "dropped" where HARD_MAXLEN may drop entries unread, else ""."""
    return "" if stream.hard_maxlen is None else "dropped"


def watch(
    link: Link, stream: StreamConfig, groups: Sequence[str], *, lost: str = ""
) -> Mapping[str, Mapping[str, int]]:
    """Enter into the books of some groups what others did to them since the last look; return it by group.

    `lost` is the counter of the entries that are missing now, where it is known: "dropped".
    """
    keys, lanes = stream.keys, lanes_ever(link, stream)
    entered = {}
    for group in groups:
        names = [keys.groups, keys.lanes, keys.totals(group), keys.retry(group), keys.books(group)]
        names += [key for lane in lanes for key in (keys.lane(lane), keys.redelivery(group, lane))]
        reply = run(link, script("watch")(names, group, lost or lost_by(stream), *lanes))
        entered[group] = {name: int(count) for name, count in pairs(reply).items()}
    return entered
