"""Reading streams without a group: the reader keeps its own position, and the server notes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...connections import Link
from ...wire import Fields
from ..scripts import Command

__all__ = ["entries", "follow_command", "last_ids"]


def last_ids(link: Link, keys: Sequence[str]) -> list[str]:
    """Return the id of the last entry of each stream, "0-0" where there is none. Raises `ResponseError`."""
    replies = link.call_many([["XREVRANGE", key, "+", "-", "COUNT", 1] for key in keys])
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return [reply[0][0] if reply else "0-0" for reply in replies]


def follow_command(positions: Mapping[str, str], count: int, block_ms: int) -> Command:
    """Read up to `count` entries of each stream after an id; wait for the first up to `block_ms`, with 0 not at all."""
    waiting: list[str | int] = ["BLOCK", block_ms] if block_ms else []
    return ["XREAD", "COUNT", count, *waiting, "STREAMS", *positions, *positions.values()]


def entries(reply: Any) -> Iterator[tuple[str, str, Fields]]:
    """Yield what a reply to `follow_command` holds: key, entry id and fields of each entry."""
    for key, found in reply or ():
        for entry_id, fields in found:
            yield key, entry_id, fields
