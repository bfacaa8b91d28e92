"""Looking for one message: on its stream, in what is redelivered, and where each group began."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ...conf import StreamConfig
from ...connections import Link
from ...keys import DEFAULT_LANE
from ...wire import Fields
from ..scripts import run
from .bounded import HEADS, Entry, entries_of, in_order

__all__ = ["backward", "body", "onward", "starts"]

# Entries in one reply.
_AT_ONCE: Final = 1_000


def body(link: Link, key: str, entry_id: str) -> Fields | None:
    """Return the fields of an entry; None where it isn't there."""
    found = link.call("XRANGE", key, entry_id, entry_id)
    return found[0][1] if found else None


def onward(link: Link, key: str, start: str, most: int) -> Iterator[Entry]:
    """Yield up to `most` entries from an id on, a part at a time, without their bodies."""
    yield from _parts(link, key, start, "+", most, newest_first=False)


def backward(link: Link, key: str, start: str, end: str, most: int) -> Iterator[Entry]:
    """Yield up to `most` entries from an id back to another, "+" and "-" for the newest and oldest, as `onward`."""
    yield from _parts(link, key, start, end, most, newest_first=True)


def starts(link: Link, stream: StreamConfig, groups: Sequence[str], lane: str) -> list[str | None]:
    """Return the id that each group began at in a lane, None where that isn't on record."""
    if not groups:
        return []
    if lane == DEFAULT_LANE:
        found: list[str | None] = link.call("HMGET", stream.keys.groups, *groups)
    else:
        found = link.call("HMGET", stream.keys.lanes, *(f"{group}:{lane}" for group in groups))
    return found


def _parts(link: Link, key: str, start: str, end: str, most: int, *, newest_first: bool) -> Iterator[Entry]:
    while most > 0:
        count = min(most, _AT_ONCE)
        part = entries_of(run(link, in_order(key, start, end, count, HEADS, newest_first=newest_first)))
        yield from part.found
        if not part.left:
            return
        start, most = f"({part.found[-1].entry_id}", most - len(part.found)
