"""The consumers of a group that are known to the server, and the removal of dead ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...connections import Link
from ..replies import group_is_gone, pairs
from ..scripts import run, script
from .membership import RETURNED, Membership

__all__ = ["consumers_on", "remove", "retire_dead"]


def consumers_on(link: Link, key: str, group: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows of XINFO CONSUMERS; none where the stream or the group isn't there."""
    (reply,) = link.call_many([["XINFO", "CONSUMERS", key, group]])
    if isinstance(reply, Exception):
        if group_is_gone(reply) or "no such key" in str(reply):
            return []
        raise reply
    return [pairs(row) for row in reply]


def remove(link: Link, membership: Membership) -> bool:
    """Remove one consumer's name, unless it holds something; return False if it does."""
    group, name = membership.group.name, membership.consumer
    rows = [(key, row) for key in membership.sources for row in consumers_on(link, key, group) if row["name"] == name]
    if any(row["pending"] for _, row in rows):
        return False
    # The script looks again: something may have been delivered meanwhile.
    return all([run(link, script("retire")([key], group, name, 0)) for key, _ in rows])  # noqa: C419  each of them


def retire_dead(link: Link, membership: Membership, idle_ms: int) -> list[str]:
    """Remove the consumers that hold nothing and were silent for `idle_ms`; return their names."""
    removed = []
    for key in membership.sources:
        for row in link.call("XINFO", "CONSUMERS", key, membership.group.name):
            found = pairs(row)
            name = found["name"]
            silent = name != RETURNED and found["pending"] == 0 and found["idle"] >= idle_ms
            if silent and run(link, script("retire")([key], membership.group.name, name, idle_ms)):
                removed.append(name)
    return removed
