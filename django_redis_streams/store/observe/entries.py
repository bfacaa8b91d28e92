"""Looking for one message: on its stream, in what is redelivered, and where each group began."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ...conf import StreamConfig
from ...connections import Link
from ...keys import DEFAULT_LANE
from ...wire import Fields

__all__ = ["backward", "body", "onward", "starts"]

# Entries in one reply.
_AT_ONCE: Final = 1_000


def body(link: Link, key: str, entry_id: str) -> Fields | None:
    """Return the fields of an entry; None where it isn't there."""
    found = link.call("XRANGE", key, entry_id, entry_id)
    return found[0][1] if found else None


def onward(link: Link, key: str, start: str, most: int) -> Iterator[tuple[str, Fields]]:
    """Yield up to `most` entries from an id on, a part at a time."""
    yield from _parts(link, ["XRANGE", key, start, "+"], most)


def backward(link: Link, key: str, start: str, end: str, most: int) -> Iterator[tuple[str, Fields]]:
    """Yield up to `most` entries from an id back to another, "+" and "-" for the newest and oldest, in parts."""
    yield from _parts(link, ["XREVRANGE", key, start, end], most)


def starts(link: Link, stream: StreamConfig, groups: Sequence[str], lane: str) -> list[str | None]:
    """Return the id that each group began at in a lane, None where that isn't on record."""
    if not groups:
        return []
    if lane == DEFAULT_LANE:
        found: list[str | None] = link.call("HMGET", stream.keys.groups, *groups)
    else:
        found = link.call("HMGET", stream.keys.lanes, *(f"{group}:{lane}" for group in groups))
    return found


def _parts(link: Link, command: Sequence[str], most: int) -> Iterator[tuple[str, Fields]]:
    name, key, start, end = command
    while most > 0:
        count = min(most, _AT_ONCE)
        found: list[Any] = link.call(name, key, start, end, "COUNT", count)
        yield from ((entry_id, fields) for entry_id, fields in found)
        if len(found) < count:
            return
        start, most = f"({found[-1][0]}", most - count
