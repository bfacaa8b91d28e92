"""The consumers of a group that are known to the server, and the removal of dead ones."""

from __future__ import annotations

from ..connections import Link
from .membership import RETURNED, Membership
from .scripts import run, script

__all__ = ["retire_dead"]


def retire_dead(link: Link, membership: Membership, idle_ms: int) -> list[str]:
    """Remove the consumers that hold nothing and were silent for `idle_ms`; their names."""
    removed = []
    for key in membership.sources:
        for row in link.call("XINFO", "CONSUMERS", key, membership.group.name):
            found = dict(zip(row[::2], row[1::2], strict=True))
            name = found["name"]
            silent = name != RETURNED and found["pending"] == 0 and found["idle"] >= idle_ms
            if silent and run(link, script("retire")([key], membership.group.name, name, idle_ms)):
                removed.append(name)
    return removed
