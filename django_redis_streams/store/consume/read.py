"""Reading what is new for a consumer: retries and replays of its group first, then the stream; or lane by lane.

Lanes, and what a group's limits leave room for, are read by a script, which never waits.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from ..scripts import Command, script
from .delivery import Delivery, deliveries
from .limits import limit_keys, limit_words
from .membership import Membership

__all__ = ["HeldBack", "await_command", "delivered", "held_back", "read_command", "refused"]


class HeldBack(NamedTuple):
    """A limited group got nothing: `wait_ms` until a limit leaves room, 0 where there was room and nothing unread.

    `last_ids` says what was last delivered of each stream that the consumer reads.
    """

    wait_ms: int
    last_ids: Sequence[str]


def read_command(membership: Membership, count: int, block_ms: int | None) -> Command:
    """Read up to `count` entries of each source; wait for the first one up to `block_ms`, or not at all with None.

    COUNT is per stream (https://redis.io/docs/latest/commands/xreadgroup/). With lanes a script reads up to `count` of
    all together, in their order, and a read that waits gets the first entry of whichever has one. A limited group's
    consumer never waits in a read, which would deliver past the limit: see `await_command`.
    """
    if membership.group.limited or (membership.stream.lanes and block_ms is None):
        return _read_by_script(membership, count)
    waiting: list[str | int] = [] if block_ms is None else ["BLOCK", block_ms]
    return [
        "XREADGROUP", "GROUP", membership.group.name, membership.consumer,
        "COUNT", 1 if membership.stream.lanes else count, *waiting,
        "STREAMS", *membership.sources, *(">" for _ in membership.sources),
    ]  # fmt: skip


def await_command(membership: Membership, last_ids: Sequence[str], block_ms: int) -> Command:
    """Wait up to `block_ms` until one of the streams has more than `last_ids`; delivers nothing.

    Entries that came between the read that found nothing and this command are seen: they are after these ids.
    """
    return ["XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", *membership.sources, *last_ids]


def _read_by_script(membership: Membership, count: int) -> Command:
    draws = random.random(), random.random()  # noqa: S311  to round by, not a secret
    weights = membership.stream.lane_weights or {}
    return script("read")(
        [*limit_keys(membership), *membership.sources],
        membership.group.name, membership.consumer, count, *draws, *limit_words(membership), *weights.values(),
    )  # fmt: skip


def delivered(membership: Membership, reply: Any) -> list[Delivery]:
    """Return what a reply to `read_command` holds; empty when nothing came."""
    return [
        each
        for key, entries, *_ in reply or ()
        if key is not None and not isinstance(entries, ResponseError)
        for each in deliveries(membership.origins[key], key, entries)
    ]


def refused(reply: Any) -> ResponseError | None:
    """Return the error of a lane that couldn't be read while others could; raise it once their entries are in hand."""
    return next((entries for _, entries, *_ in reply or () if isinstance(entries, ResponseError)), None)


def held_back(reply: Any) -> HeldBack | None:
    """Return why a limited group got nothing; None where it got something, or isn't limited."""
    for key, wait_ms, *last_ids in reply or ():
        if key is None:
            return HeldBack(wait_ms, last_ids)
    return None
