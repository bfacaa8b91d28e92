"""How a stream and its groups are doing, by one script: its time doesn't depend on how much there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ...conf import StreamConfig
from ...connections import Link
from ...keys import deleted_field, paused_field
from ..consume.books import lanes_ever, lost_by
from ..consume.clock import ClockRecord
from ..consume.groups import Deletion, deletion, paused_since
from ..consume.presence import LIVING_MS
from ..replies import pairs
from ..scripts import Command, exchange, script

__all__ = [
    "OVERDUE", "GroupFigures", "GroupLaneFigures", "LaneFigures", "StreamFigures", "all_figures", "overview_command",
    "overview_of",
]  # fmt: skip

# In seconds: a promoter moves what is due within a second; if it dies, another takes over within some more.
OVERDUE: Final = 30
# No more groups than this in one script, to keep it short.
_GROUPS_AT_ONCE: Final = 20


class LaneFigures(NamedTuple):
    """One lane's stream. `groups` are the names of the groups on it, None where there is no such stream."""

    name: str
    length: int
    last_generated: str
    groups: Sequence[str] | None


class GroupLaneFigures(NamedTuple):
    """A group on one lane, its redelivery included.

    `there` is whether the group is on the lane's stream; `entries` is how many entries there are. `unread` is None
    where the server can't tell.
    """

    there: bool
    entries: int
    unread: int | None
    pending: int


class GroupFigures(NamedTuple):
    """One group.

    `published` is how many messages were published to it, None where that can't be told or wasn't asked. `retrying`
    are the retries that wait, `overdue` those of them that should have been run for a while, `suspects` the entries
    that may have ended a worker. `paused` is since when, in ms since 1970. `consumers` are those that are alive. The
    ids of the oldest entries are None where there is none. `longest_idle` is how many ms ago the longest held entry was
    delivered to its consumer or renewed by it, 0 where no consumer holds any. `totals` is what became of its messages
    since ever; `lanes` has the figures of each lane by its name.
    """

    name: str
    published: int | None
    retrying: int
    overdue: int
    suspects: int
    paused: int | None
    deletion: Deletion | None
    consumers: int
    oldest_unread: str | None
    oldest_pending: str | None
    longest_idle: int
    totals: Mapping[str, int]
    lanes: Mapping[str, GroupLaneFigures]

    @property
    def unread(self) -> int | None:
        """How many messages the group wasn't given yet, None where the server can't tell."""
        unread = [each.unread for each in self.lanes.values()]
        return None if None in unread else sum(filter(None, unread))

    @property
    def pending(self) -> int:
        """How many messages the group was given and hasn't settled."""
        return sum(each.pending for each in self.lanes.values())


class StreamFigures(NamedTuple):
    """One stream. `overdue` is how many of the `delayed` messages should have been published for a while."""

    dead_letters: int
    delayed: int
    overdue: int
    clock: ClockRecord
    lanes: Sequence[LaneFigures]
    groups: Sequence[GroupFigures]


def overview_command(
    stream: StreamConfig,
    groups: Sequence[str] | None = None,
    lanes: Sequence[str] | None = None,
    *,
    with_books: bool = False,
) -> Command:
    """Ask for the figures of a stream and of some groups on some lanes, by default the declared ones.

    The books are right only with all lanes that were ever read.
    """
    keys = stream.keys
    groups, lanes = (list(stream.groups) if groups is None else groups), (lanes or stream.lane_names)
    names = [keys.dlq, keys.groups, keys.lanes, keys.delayed, keys.clock, keys.processes, keys.alive("")]
    names += map(keys.lane, lanes)
    words: list[str | float] = [OVERDUE * 1000, int(with_books), lost_by(stream), LIVING_MS, len(lanes), *lanes]
    for group in groups:
        names += [keys.totals(group), keys.retry(group), keys.books(group), keys.suspects(group), keys.workers(group)]
        names += [keys.redelivery(group, lane) for lane in lanes]
        seen_within = stream.groups[group].claim_idle if group in stream.groups else 0
        words += [group, paused_field(group), deleted_field(group), round(seen_within * 1000)]
    return script("overview")(names, *words)


def overview_of(reply: Any) -> StreamFigures:
    """Return the figures that the script replied with."""
    now, dead_letters, delayed, overdue, clock, lanes, groups = reply
    streams = [LaneFigures(*each) for each in lanes]
    newest = max(int(each.last_generated.partition("-")[0]) for each in streams)
    seen, jump, jumped = map(_number, clock)
    record = ClockRecord(now, seen=seen, jump=jump, jumped=jumped, newest=newest)
    names = [each.name for each in streams]
    return StreamFigures(dead_letters, delayed, overdue, record, streams, [_group(names, each) for each in groups])


def all_figures(link: Link, stream: StreamConfig, groups: Sequence[str]) -> Iterator[GroupFigures]:
    """Yield the figures of some groups with their books, on all lanes that are declared or were ever read.

    Each group's figures are of one moment: they are exact also while workers work. Raises the server's error.
    """
    lanes = lanes_ever(link, stream)
    parts = [groups[begin : begin + _GROUPS_AT_ONCE] for begin in range(0, len(groups), _GROUPS_AT_ONCE)]
    for reply in exchange(link, [overview_command(stream, part, lanes, with_books=True) for part in parts]):
        if isinstance(reply, Exception):
            raise reply
        yield from overview_of(reply).groups


def _group(lanes: Sequence[str], reply: Any) -> GroupFigures:
    name, published, retrying, overdue, suspects, paused, deleted, *held, counts, figures = reply
    consumers, unread, pending, idle = held
    return GroupFigures(
        name, published, retrying, overdue, suspects, paused_since(paused), deletion(deleted), consumers, unread,
        pending, idle, {total: int(count) for total, count in pairs(counts).items()},
        {lane: GroupLaneFigures(bool(there), *rest) for lane, (there, *rest) in zip(lanes, figures, strict=True)},
    )  # fmt: skip


def _number(text: object) -> int:
    """Return a number that a script has written; 0 for anything else: any client can write there."""
    try:
        return int(str(text))
    except ValueError:
        return 0
