"""The state of every stream and group: its messages, how many of them wait and for how long, its consumers.

One round trip for each server, at a cost that doesn't depend on the number of messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from ..conf import StreamConfig
from ..keys import EntryId
from ..store.consume.clock import ClockRecord
from ..store.consume.groups import Deletion
from ..store.observe.overview import GroupFigures, StreamFigures, overview_command, overview_of
from .grouping import ask_each
from .paging import Problem
from .records import moment

__all__ = ["GroupState", "Overview", "StreamState", "overview"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupState:
    """One group of a stream that declares it.

    `unread` messages aren't delivered yet, redelivery included; None where the server can't tell, as after deletions.
    `pending` ones are delivered and not settled. The oldest of each are so many seconds old, 0 where there are none;
    the age of a redelivered one counts from when it was due. `retrying` ones wait for a later run; `overdue` of them
    were due half a minute ago or more. `suspects` may have ended a worker. `consumers` counts those that are alive: a
    worker's as long as its process says so, another client's within CLAIM_IDLE of its last read. `paused` is since
    when, `deletion` when and by whom the group was deleted on purpose. `missing`: a stream of its lanes exists without
    the group. `totals` are the counts of outcomes since ever.
    """

    name: str
    unread: int | None
    oldest_unread: float
    pending: int
    oldest_pending: float
    retrying: int
    overdue: int
    suspects: int
    consumers: int
    paused: datetime | None
    deletion: Deletion | None
    missing: bool
    totals: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """One stream: `length` counts the entries of all its lanes.

    `undeclared_groups` is how many groups are on the server that the settings don't declare, `group_names` has all
    groups on the server. `delayed` is how many messages wait to be published; `overdue` of them were due half a minute
    ago or more. `clock` is what is known of the server's clock.
    """

    name: str
    length: int
    dead_letters: int
    undeclared_groups: int
    group_names: AbstractSet[str]
    delayed: int
    overdue: int
    clock: ClockRecord
    groups: Sequence[GroupState]


@dataclass(frozen=True, slots=True)
class Overview:
    """The streams that could be read, in the order of the settings; and the problems of the others."""

    streams: Sequence[StreamState]
    problems: Sequence[Problem]


def overview(*streams: str) -> Overview:
    """Return the state of these streams (default: all declared ones).

    Raises `UnknownStream`, and `ConfigurationError` for settings that can't work.
    """
    found, problems = ask_each(streams, overview_command)
    return Overview([_stream(stream, overview_of(reply)) for stream, reply in found], problems)


def _stream(stream: StreamConfig, figures: StreamFigures) -> StreamState:
    names = {name for lane in figures.lanes for name in lane.groups or ()}
    return StreamState(
        name=stream.name,
        length=sum(each.length for each in figures.lanes),
        dead_letters=figures.dead_letters,
        undeclared_groups=len(names - {*stream.groups}),
        group_names=names,
        delayed=figures.delayed,
        overdue=figures.overdue,
        clock=figures.clock,
        groups=[_group(figures, group) for group in figures.groups],
    )


def _group(stream: StreamFigures, group: GroupFigures) -> GroupState:
    now = stream.clock.now
    return GroupState(
        name=group.name,
        unread=group.unread,
        oldest_unread=_age(now, group.oldest_unread),
        pending=group.pending,
        oldest_pending=_age(now, group.oldest_pending),
        retrying=group.retrying,
        overdue=group.overdue,
        suspects=group.suspects,
        consumers=group.consumers,
        paused=None if group.paused is None else moment(group.paused),
        deletion=group.deletion,
        missing=any(each.groups is not None and group.name not in each.groups for each in stream.lanes),
        totals=group.totals,
    )


def _age(now: int, entry_id: str | None) -> float:
    """Return the seconds since an entry was added, 0 for None. An id that a client chose may lie in the future."""
    return 0.0 if entry_id is None else max(0.0, (now - EntryId.of(entry_id).milliseconds) / 1000)
