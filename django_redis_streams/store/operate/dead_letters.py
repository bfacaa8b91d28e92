"""Replaying and discarding dead letters, one script each; doing it twice is safe."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from ...conf import StreamConfig
from ...connections import Link
from ...keys import is_entry_id
from ...wire import Fields
from ..observe.bounded import BODIES, HEADS, Extent, Part, entries_of, in_order
from ..observe.sources import DeadLetters, Found
from ..scripts import exchange, run, script

__all__ = ["Replayed", "between", "discard", "extent", "read", "replay"]

# What a replay needs: the dead letter's entry id, its group, lane and new metadata, and its fields (none if they stay).
Replayed = tuple[str, str, str, str, Fields]


def extent(link: Link, stream: StreamConfig) -> tuple[int, str]:
    """Return how many dead letters there are, and the id of the newest, else "". Raises the server's error."""
    key = stream.keys.dlq
    replies = exchange(link, [["XLEN", key], in_order(key, "+", "-", 1, HEADS, newest_first=True)])
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    count, newest = replies
    return int(count), "".join(each.entry_id for each in entries_of(newest).found)


def between(
    link: Link, stream: StreamConfig, bounds: tuple[str, str], count: int, extent: Extent, *, newest_first: bool
) -> Part[Found]:
    """Return the next `count` entries between two ids, both included; fewer where they are large.

    Raises the server's error.
    """
    begin, end = reversed(bounds) if newest_first else bounds
    command = in_order(stream.keys.dlq, begin, end, count, extent, newest_first=newest_first)
    return DeadLetters(stream).part(run(link, command))


def read(link: Link, stream: StreamConfig, entry_ids: Sequence[str], *, bodies: bool = False) -> list[Fields | None]:
    """Return the fields of the first of these dead letters, None for each that isn't there. Raises the server's error.

    It is as many as one command reads, and one at least. Without `bodies` the values of all fields are empty but those
    that identify the message; the metadata is whole.
    """
    known = [each for each in entry_ids if is_entry_id(each)]
    part = DeadLetters(stream).part(
        run(link, DeadLetters(stream).some_command(known, BODIES if bodies else HEADS)) if known else [0]
    )
    found = dict(zip(known, part.found, strict=False))
    unread = frozenset(known[len(part.found) :])
    read = takewhile(lambda each: each not in unread, entry_ids)
    return [letter.fields if (letter := found.get(each)) else None for each in read]


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
