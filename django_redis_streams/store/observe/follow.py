"""Reading streams without a group: the reader keeps its own position, and the server notes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...connections import Link
from ..scripts import Command, exchange
from .bounded import BODIES, HEADS, Entry, entries_of, in_order

__all__ = ["await_command", "awaited", "last_ids", "next_entries"]


def last_ids(link: Link, keys: Sequence[str]) -> list[str]:
    """Return the id of the last entry of each stream, "0-0" where there is none. Raises `ResponseError`."""
    found = _parts(link, [in_order(key, "+", "-", 1, HEADS, newest_first=True) for key in keys])
    return [part[0].entry_id if part else "0-0" for part in found]


def next_entries(link: Link, positions: Mapping[str, str], count: int) -> list[tuple[str, Entry]]:
    """Return the entries that are there after an id of each stream, with the stream's key; up to `count` of each.

    Of all streams together about 4 MiB are read, and one entry of each. Raises `ResponseError`.
    """
    extent = BODIES.shared(len(positions))
    found = _parts(link, [in_order(key, f"({last}", "+", count, extent) for key, last in positions.items()])
    return [(key, entry) for key, part in zip(positions, found, strict=True) for entry in part]


def await_command(positions: Mapping[str, str], block_ms: int) -> Command:
    """Read one entry of each stream after an id, and wait for the first up to `block_ms`."""
    return ["XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", *positions, *positions.values()]


def awaited(reply: Any) -> list[tuple[str, Entry]]:
    """Return the entries that a reply to `await_command` holds, each with its stream's key."""
    return [(key, Entry(entry_id, 0, fields)) for key, found in reply or () for entry_id, fields in found]


def _parts(link: Link, commands: Sequence[Command]) -> list[Sequence[Entry]]:
    replies = exchange(link, commands)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return [entries_of(reply).found for reply in replies]
