"""Lanes of a stream that nobody reads any more."""

from __future__ import annotations

from ...conf import StreamConfig
from ...connections import Link
from ..consume.books import undeclared_lanes
from .overview import all_figures
from .sources import group_names

__all__ = ["left_in_lanes"]


def left_in_lanes(link: Link, stream: StreamConfig) -> list[tuple[str, str, int]]:
    """Return how many messages nobody reads, as LANES no longer names their lane: (lane, group, how many at most)."""
    if not undeclared_lanes(link, stream):
        return []
    found = []
    for group in all_figures(link, stream, group_names(link, [stream])[0]):
        for name, lane in group.lanes.items():
            if name not in stream.lane_names and lane.there:
                # Where the server can't tell the number of unread entries, all entries may be unread.
                waiting = lane.entries if lane.unread is None else lane.unread + lane.pending
                found.append((name, group.name, waiting))
    return [each for each in found if each[2]]
