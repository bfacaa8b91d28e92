"""Deleting everything under a prefix: what a test has left behind."""

from __future__ import annotations

from itertools import product

from ...connections import Link
from ...keys import literal
from ..scripts import raise_first

__all__ = ["erase"]

_AT_ONCE = 1_000


def erase(link: Link, prefix: str) -> None:
    """Delete every key of the streams whose connection has this KEY_PREFIX."""
    prefix = literal(prefix)
    for node, pattern in product(link.each_node(), (f"{prefix}:*", f"{{{prefix}:*")):
        cursor = "0"
        while True:
            cursor, keys = node.call("SCAN", cursor, "MATCH", pattern, "COUNT", _AT_ONCE)
            # In a cluster, one command can't name keys of several slots.
            raise_first(node.call_many([["UNLINK", key] for key in keys]) if keys else ())
            if cursor == "0":
                break
