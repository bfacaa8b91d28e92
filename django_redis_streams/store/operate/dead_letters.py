"""Replaying and discarding dead letters, one script each; doing it twice is safe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...conf import StreamConfig
from ...connections import Link
from ...keys import is_entry_id
from ...wire import Fields
from ..observe.sources import DeadLetters
from ..scripts import exchange, script

__all__ = ["Replayed", "between", "discard", "extent", "read", "replay"]

# What a replay needs: the dead letter's entry id, its group, lane and new metadata, and its fields (none if they stay).
Replayed = tuple[str, str, str, str, Fields]


def extent(link: Link, stream: StreamConfig) -> tuple[int, str]:
    """Return how many dead letters there are, and the id of the newest, else "". Raises the server's error."""
    key = stream.keys.dlq
    replies = link.call_many([["XLEN", key], ["XREVRANGE", key, "+", "-", "COUNT", 1]])
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    count, newest = replies
    return int(count), newest[0][0] if newest else ""


def between(link: Link, stream: StreamConfig, first: str, last: str, count: int, *, newest_first: bool) -> Any:
    """Return the next `count` entries from one id to another, both included. Raises the server's error."""
    key = stream.keys.dlq
    if newest_first:
        return link.call("XREVRANGE", key, last, first, "COUNT", count)
    return link.call("XRANGE", key, first, last, "COUNT", count)


def read(link: Link, stream: StreamConfig, entry_ids: Sequence[str]) -> list[Fields | None]:
    """Return the fields of some dead letters, None for each that isn't there. Raises the server's error."""
    source = DeadLetters(stream)
    known = [each for each in entry_ids if is_entry_id(each)]
    found = {}
    for entry_id, reply in zip(known, link.call_many([source.some_command(each) for each in known]), strict=True):
        if isinstance(reply, Exception):
            raise reply
        found[entry_id] = reply[0][1] if reply else None
    return [found.get(each) for each in entry_ids]


def replay(link: Link, stream: StreamConfig, letters: Sequence[Replayed]) -> list[Any]:
    """Move dead letters to the redelivery streams of their groups.

    Returns for each its id there, None where it was gone, or the server's error: then it stayed where it is.
    """
    keys = stream.keys
    return exchange(
        link,
        [
            script("replay")(
                [keys.dlq, keys.redelivery(group, lane), keys.totals(group)], group, entry_id, metadata, *fields
            )
            for entry_id, group, lane, metadata, fields in letters
        ],
    )


def discard(link: Link, stream: StreamConfig, letters: Sequence[tuple[str, str]]) -> list[Any]:
    """Delete dead letters, each (entry id, group or "" where it is unknown).

    Returns for each 1 where it was there, 0 where it was gone, or the server's error: then it is still there.
    """
    keys = stream.keys
    return exchange(
        link,
        [
            script("discard_dead_letter")([keys.dlq, *([keys.totals(group)] if group else [])], entry_id)
            for entry_id, group in letters
        ],
    )
