"""Reading what is new for a consumer: retries and replays of its group first, then the stream."""

from __future__ import annotations

from typing import Any

from .delivery import Delivery, deliveries
from .membership import Membership
from .scripts import Command

__all__ = ["delivered", "read_command"]


def read_command(membership: Membership, count: int, block_ms: int | None) -> Command:
    """Read up to `count` entries of each source; wait for the first one up to `block_ms`, or not at all with None.

    COUNT is per stream (https://redis.io/docs/latest/commands/xreadgroup/).
    """
    waiting: list[str | int] = [] if block_ms is None else ["BLOCK", block_ms]
    return [
        "XREADGROUP", "GROUP", membership.group.name, membership.consumer,
        "COUNT", count, *waiting,
        "STREAMS", *membership.sources, *(">" for _ in membership.sources),
    ]  # fmt: skip


def delivered(membership: Membership, reply: Any) -> list[Delivery]:
    """What a reply to `read_command` holds; empty when nothing came."""
    return [each for key, entries in reply or () for each in deliveries(membership, key, entries)]
