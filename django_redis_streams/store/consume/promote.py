"""Due retries and delayed messages: the one process that holds the stream's lease moves them to where they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...conf import StreamConfig
from ...connections import Link
from ...keys import StreamKeys, group_of_field
from ...outcomes import Reason
from ..publish.append import hard_bound
from ..scripts import run, script

__all__ = [
    "AT_ONCE",
    "LEASE_MS",
    "Promotion",
    "lease_is_free",
    "make_due",
    "promote",
    "recorded_groups",
    "waiting_delayed",
    "waiting_retries",
]

LEASE_MS = 2_000
# 300,000 in one script stopped a server for seconds; a hundred take about a millisecond, and so many bytes some more.
AT_ONCE = 100
_BYTES_AT_ONCE = 4 * 1024 * 1024
# What PTTL says where there is no key.
_NO_KEY = -2


@dataclass(frozen=True, slots=True)
class Promotion:
    """What one step of the promoter did.

    `moved` is how many messages it moved, `vanished` how many had no body, and `dead_lettered` how many can't be
    moved. `more` says whether more are due. `problems` are the server's refusals. The server's clock shows `now`, and
    is so many ms `behind` what it showed before.
    """

    moved: int
    vanished: int
    more: bool
    problems: Sequence[str]
    dead_lettered: int = 0
    now: int = 0
    behind: int = 0


def lease_is_free(link: Link, keys: StreamKeys) -> bool:
    """Return whether nobody promotes for the stream just now. Somebody may a moment later: `promote` looks again.

    A lease that lasts longer than any that is given dates from before the server's clock went back: nobody holds it.
    """
    lasts: int = link.call("PTTL", keys.promoter)
    return lasts == _NO_KEY or lasts > LEASE_MS


def recorded_groups(link: Link, keys: StreamKeys) -> list[str]:
    """Return every group ever seen on the stream: this process' code may not know them all."""
    return [group for group in map(group_of_field, link.call("HKEYS", keys.groups)) if group is not None]


def promote(
    link: Link, stream: StreamConfig, groups: Sequence[str], holder: str, *, passed_over: int = 0
) -> Promotion | None:
    """Move what is due of the stream and for these groups, each to its lane; return None where another has the lease.

    It moves at most `AT_ONCE` of each, after the first `passed_over`, which the server refused.
    """
    keys, lanes = stream.keys, stream.lane_names
    per_group = [key for group in groups for key in (keys.retry(group), keys.retry_entries(group), keys.totals(group))]
    prefix = keys.redelivery("")
    reply = run(
        link,
        script("promote")(
            [keys.promoter, keys.main, keys.delayed, keys.delayed_entries, keys.dlq, keys.clock, *per_group],
            holder,
            LEASE_MS,
            AT_ONCE,
            passed_over,
            _BYTES_AT_ONCE,
            Reason.INVALID,
            prefix,
            keys.lane(""),
            *hard_bound(stream),
            len(lanes),
            *lanes,
            *groups,
        ),
    )
    if reply[0] < 0:
        return None
    moved, vanished, dead_lettered, more, now, behind, *problems = reply
    return Promotion(moved, vanished, bool(more), problems, dead_lettered, now, behind)


def waiting_retries(link: Link, keys: StreamKeys, group: str) -> int:
    """Return how many retries of the group wait until they are due."""
    return int(link.call("ZCARD", keys.retry(group)))


def waiting_delayed(link: Link, keys: StreamKeys) -> int:
    """Return how many messages of the stream wait until they are published."""
    return int(link.call("ZCARD", keys.delayed))


def make_due(link: Link, keys: StreamKeys, groups: Sequence[str]) -> None:
    """Have every delayed message of the stream, and every retry of these groups, be due now."""
    for waiting in (keys.delayed, *map(keys.retry, groups)):
        tokens = link.call("ZRANGE", waiting, 0, -1)
        if tokens:
            link.call("ZADD", waiting, *(word for token in tokens for word in (0, token)))
