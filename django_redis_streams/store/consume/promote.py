"""Due retries and delayed messages: the one process that holds the stream's lease moves them to where they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...connections import Link
from ...keys import StreamKeys, group_of_field
from ...outcomes import Reason
from ..publish.append import hard_bound
from ..scripts import Command, exchange, raise_first, run, script
from .asking import ask_each

__all__ = [
    "AT_ONCE",
    "GRACE_MS",
    "LEASE_MS",
    "Held",
    "Promotion",
    "anything_waits",
    "leases",
    "let_go",
    "make_due",
    "promote",
    "recorded_groups",
    "waiting_delayed",
    "waiting_retries",
]

# How often the process that holds the lease looks while things move, and how seldom at least while anything waits.
_SOON_MS: Final = 50
_LONGEST_MS: Final = 5_000
# For how long it keeps the lease after it should have looked again.
GRACE_MS: Final = 2_000
LEASE_MS: Final = _LONGEST_MS + GRACE_MS
# 300,000 in one script stopped a server for seconds; a hundred take about a millisecond, and so many bytes some more.
AT_ONCE = 100
_BYTES_AT_ONCE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Held:
    """Another process holds the lease, for so many ms more; negative where the lease doesn't end."""

    ms: int


@dataclass(frozen=True, slots=True)
class Promotion:
    """What one step of the promoter did.

    `moved` counts the messages that were moved to where groups read them, `vanished` those of which only the token was
    left, `dead_lettered` those that can't be moved. `more` tells whether something due may be left. `problems` are the
    server's refusals. The server's clock shows `now`, and is so many ms `behind` what it showed before. The next step
    is to be in `sleep` ms; None where nothing waits: then the lease was let go.
    """

    moved: int
    vanished: int
    more: bool
    problems: Sequence[str]
    dead_lettered: int = 0
    now: int = 0
    behind: int = 0
    sleep: int | None = None


def leases(link: Link, streams: Sequence[StreamConfig]) -> Sequence[Held | None]:
    """Return for each stream who holds its lease just now; None where nobody does. Asks for all of them at once.

    Somebody may hold it a moment later: `promote` looks again. A lease that lasts longer than any that is given dates
    from before the server's clock went back: nobody holds it.
    """
    return [_held(reply) for reply in ask_each(link, [["PTTL", each.keys.promoter] for each in streams])]


def _held(reply: object) -> Held | None:
    # Anything else than how long a lease lasts is for `promote`, which reports what is wrong.
    return Held(reply) if isinstance(reply, int) and 0 <= reply <= LEASE_MS else None


def anything_waits(link: Link, streams: Sequence[tuple[StreamConfig, Sequence[str]]]) -> Sequence[bool]:
    """Return for each stream, with groups, whether a delayed message or a retry of these groups waits.

    Asks for all of them at once. It is also true where the server refuses to say: `promote` reports that.
    """
    sets = [[stream.keys.delayed, *map(stream.keys.retry, groups)] for stream, groups in streams]
    return [reply != 0 for reply in ask_each(link, [["EXISTS", *each] for each in sets])]


def recorded_groups(link: Link, streams: Sequence[StreamConfig]) -> Sequence[list[str] | ResponseError]:
    """Return every group ever seen on each stream, or the server's error: this process' code may not know them all.

    Asks for all of them at once.
    """
    replies = ask_each(link, [["HKEYS", each.keys.groups] for each in streams])
    return [
        each if isinstance(each, ResponseError) else [group for group in map(group_of_field, each) if group is not None]
        for each in replies
    ]


def promote(
    link: Link,
    stream: StreamConfig,
    groups: Sequence[str],
    holder: str,
    *,
    passed_over: int = 0,
    moved_lately: bool = False,
    clock: int = 0,
) -> Promotion | Held:
    """Move what is due of the stream and for these groups, each to its lane, unless another has the lease.

    It moves at most `AT_ONCE` of each, after the first `passed_over`, which the server refused. Where something was
    `moved_lately`, the next step is soon, whatever waits. `clock` is what the server's clock shows at least, in ms.
    """
    how = [_SOON_MS, _LONGEST_MS, GRACE_MS, int(moved_lately), clock, AT_ONCE, passed_over, _BYTES_AT_ONCE]
    reply = run(link, _command(stream, groups, holder, how))
    if reply[0] < 0:
        return Held(reply[1])
    moved, vanished, dead_lettered, more, now, behind, sleep, *problems = reply
    sleep = None if sleep < 0 else sleep
    return Promotion(moved, vanished, bool(more), problems, dead_lettered, now, behind, sleep)


def _command(stream: StreamConfig, groups: Sequence[str], holder: str, how: Sequence[int]) -> Command:
    keys, lanes = stream.keys, stream.lane_names
    names = [keys.promoter, keys.main, keys.delayed, keys.delayed_entries, keys.dlq, keys.clock]
    names += [key for group in groups for key in (keys.retry(group), keys.retry_entries(group), keys.totals(group))]
    where = [keys.redelivery(""), keys.lane(""), *hard_bound(stream), len(lanes), *lanes]
    return script("promote")(names, holder, *how, Reason.INVALID, *where, *groups)


def let_go(link: Link, streams: Sequence[StreamConfig], holder: str) -> None:
    """Let go of the leases of these streams, if this process holds them, so that others take them at once."""
    commands = [script("let_go")([each.keys.promoter, each.keys.main, each.keys.notices], holder) for each in streams]
    raise_first(exchange(link, commands))


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
