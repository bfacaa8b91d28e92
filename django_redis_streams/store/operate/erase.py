"""Deleting everything under a prefix: what a test has left behind."""

from __future__ import annotations

import re

from ...connections import Link

__all__ = ["erase"]

_AT_ONCE = 1_000
# Characters with a meaning in a pattern of SCAN.
_SPECIAL = re.compile(r"[*?\[\]\\^-]")


def erase(link: Link, prefix: str) -> None:
    """Delete every key of the streams whose connection has this KEY_PREFIX."""
    prefix = _SPECIAL.sub(r"\\\g<0>", prefix)
    for pattern in (f"{prefix}:*", f"{{{prefix}:*"):
        cursor = "0"
        while True:
            cursor, keys = link.call("SCAN", cursor, "MATCH", pattern, "COUNT", _AT_ONCE)
            if keys:
                link.call("UNLINK", *keys)
            if cursor == "0":
                break
