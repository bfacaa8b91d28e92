"""The consumers of a group that are known to the server, and the removal of dead ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...connections import Link
from ..replies import group_is_gone, pairs
from ..scripts import run, script
from .asking import Asking, replies_to
from .membership import RETURNED, Membership

__all__ = ["consumers_on", "remove", "retiring"]


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


def retiring(membership: Membership, idle_ms: int) -> Asking[list[str]]:
    """Remove the consumers that hold nothing and were silent for `idle_ms`; return their names."""
    group = membership.group.name
    replies = yield from replies_to([["XINFO", "CONSUMERS", key, group] for key in membership.sources])
    rows = [(key, pairs(row)) for key, reply in zip(membership.sources, replies, strict=True) for row in reply]
    silent = [
        (key, row["name"]) for key, row in rows
        if row["name"] != RETURNED and row["pending"] == 0 and row["idle"] >= idle_ms
    ]  # fmt: skip
    removed = yield from replies_to([script("retire")([key], group, name, idle_ms) for key, name in silent])
    return [name for (_, name), done in zip(silent, removed, strict=True) if done]
