"""Deleting everything under a prefix: what a test has left behind."""

from __future__ import annotations

from ...connections import Link
from ...keys import literal

__all__ = ["erase"]

_AT_ONCE = 1_000


def erase(link: Link, prefix: str) -> None:
    """Delete every key of the streams whose connection has this KEY_PREFIX."""
    prefix = literal(prefix)
    for pattern in (f"{prefix}:*", f"{{{prefix}:*"):
        cursor = "0"
        while True:
            cursor, keys = link.call("SCAN", cursor, "MATCH", pattern, "COUNT", _AT_ONCE)
            if keys:
                link.call("UNLINK", *keys)
            if cursor == "0":
                break
