"""Due retries and delayed messages, moved to where they are read by the one process that holds the stream's lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..conf import StreamConfig
from ..connections import Link
from ..keys import StreamKeys, group_of_field
from .scripts import run, script

__all__ = ["LEASE_MS", "Promotion", "lease_holder", "make_due", "promote", "recorded_groups", "waiting_retries"]

LEASE_MS = 2_000
# 300,000 in one script stopped a server for seconds; a hundred take about a millisecond.
_MOST_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Promotion:
    """One step: how many were `moved`, how many had no body (`vanished`), whether `more` are due, and what failed."""

    moved: int
    vanished: int
    more: bool
    problems: Sequence[str]


def lease_holder(link: Link, keys: StreamKeys) -> str | None:
    """Who promotes for the stream just now. It may be another a moment later: `promote` looks again."""
    holder: str | None = link.call("GET", keys.promoter)
    return holder


def recorded_groups(link: Link, keys: StreamKeys) -> list[str]:
    """Every group ever seen on the stream: this process' code may not know them all."""
    return [group for group in map(group_of_field, link.call("HKEYS", keys.groups)) if group is not None]


def promote(link: Link, stream: StreamConfig, groups: Sequence[str], holder: str) -> Promotion | None:
    """Move what is due of the stream and for these groups, each to its lane; None where another has the lease."""
    keys, lanes = stream.keys, stream.lane_names
    per_group = [key for group in groups for key in (keys.retry(group), keys.retry_entries(group), keys.totals(group))]
    prefix = keys.redelivery("")
    reply = run(
        link,
        script("promote")(
            [keys.promoter, keys.main, keys.delayed, keys.delayed_entries, *per_group],
            holder,
            LEASE_MS,
            _MOST_AT_ONCE,
            prefix,
            keys.lane(""),
            "" if stream.hard_maxlen is None else stream.hard_maxlen,
            "=" if stream.exact_trim else "~",
            len(lanes),
            *lanes,
            *groups,
        ),
    )
    if reply[0] < 0:
        return None
    return Promotion(reply[0], reply[1], bool(reply[2]), reply[3:])


def waiting_retries(link: Link, keys: StreamKeys, group: str) -> int:
    """How many retries of the group wait until they are due."""
    return int(link.call("ZCARD", keys.retry(group)))


def make_due(link: Link, keys: StreamKeys, groups: Sequence[str]) -> None:
    """Have every delayed message of the stream, and every retry of these groups, be due now."""
    for waiting in (keys.delayed, *map(keys.retry, groups)):
        tokens = link.call("ZRANGE", waiting, 0, -1)
        if tokens:
            link.call("ZADD", waiting, *(word for token in tokens for word in (0, token)))
