"""Reading what is new for a consumer: retries and replays of its group first, then the stream; or lane by lane."""

from __future__ import annotations

import random
from typing import Any

from redis.exceptions import ResponseError

from .delivery import Delivery, deliveries
from .membership import Membership
from .scripts import Command, script

__all__ = ["delivered", "read_command", "refused"]


def read_command(membership: Membership, count: int, block_ms: int | None) -> Command:
    """Read up to `count` entries of each source; wait for the first one up to `block_ms`, or not at all with None.

    COUNT is per stream (https://redis.io/docs/latest/commands/xreadgroup/). With lanes a script reads up to `count` of
    all together, in their order, and who waits gets the first entry of whichever has one.
    """
    if membership.stream.lanes and block_ms is None:
        return _read_lanes(membership, count)
    waiting: list[str | int] = [] if block_ms is None else ["BLOCK", block_ms]
    return [
        "XREADGROUP", "GROUP", membership.group.name, membership.consumer,
        "COUNT", 1 if membership.stream.lanes else count, *waiting,
        "STREAMS", *membership.sources, *(">" for _ in membership.sources),
    ]  # fmt: skip


def _read_lanes(membership: Membership, count: int) -> Command:
    draws = random.random(), random.random()  # noqa: S311  to round by, not a secret
    weights = membership.stream.lane_weights or {}
    return script("read")(
        membership.sources, membership.group.name, membership.consumer, count, *draws, *weights.values()
    )


def delivered(membership: Membership, reply: Any) -> list[Delivery]:
    """What a reply to `read_command` holds; empty when nothing came."""
    return [
        each
        for key, entries in reply or ()
        if not isinstance(entries, ResponseError)
        for each in deliveries(membership, key, entries)
    ]


def refused(reply: Any) -> ResponseError | None:
    """The error of a lane that couldn't be read while others could: it is to be raised once these are in hand."""
    return next((entries for _, entries in reply or () if isinstance(entries, ResponseError)), None)
