"""What a stream holds: its memory, its ends, and how much came lately."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...connections import Link
from ..scripts import Command, exchange, run, script
from .bounded import HEADS, entries_of, in_order

__all__ = ["MOST_COUNTED", "LaneContents", "contents", "length", "span"]

# Counting so many takes a few milliseconds of the server's time.
MOST_COUNTED = 10_000


class LaneContents(NamedTuple):
    """One lane: its bytes (None where an ACL forbids to ask), its ends, and how many entries came since some moment."""

    memory: int | None
    first: str | None
    last: str | None
    recent: int
    oldest_recent: str | None


def contents(link: Link, stream: StreamConfig, since_ms: int) -> list[LaneContents]:
    """Return what each lane holds; up to `MOST_COUNTED` entries since `since_ms` count. Raises the server's error."""
    found = []
    for lane in stream.lane_names:
        key = stream.keys.lane(lane)
        asked: list[Command] = [
            ["MEMORY", "USAGE", key],
            in_order(key, "-", "+", 1, HEADS),
            in_order(key, "+", "-", 1, HEADS, newest_first=True),
            script("span")([key], since_ms, "+", MOST_COUNTED),
        ]
        memory, first, last, recent = exchange(link, asked)
        for reply in (first, last, recent):
            if isinstance(reply, Exception):
                raise reply
        known = None if isinstance(memory, ResponseError) else memory or 0
        found.append(LaneContents(known, _id(first), _id(last), *recent))
    return found


def length(link: Link, key: str) -> int:
    """Return how many entries a stream holds."""
    return int(link.call("XLEN", key))


def span(link: Link, key: str, first: str, last: str) -> int:
    """Return how many entries are between two ids, as XRANGE takes them; `MOST_COUNTED` means that many or more."""
    count, _ = run(link, script("span")([key], first, last, MOST_COUNTED))
    return int(count)


def _id(reply: Any) -> str | None:
    entries = entries_of(reply).found
    return entries[0].entry_id if entries else None
