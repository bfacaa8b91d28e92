"""Every stream and group at a glance: how much is there, how much waits, since when, and who is there to do it.

One round trip for each server, at a cost that doesn't depend on how much is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from redis.exceptions import ResponseError

from .. import conf, connections
from ..conf import StreamConfig
from ..exceptions import StreamsError
from ..store.observe.overview import (
    GroupFigures,
    LaneFigures,
    SourceFigures,
    StreamFigures,
    overview_command,
    overview_of,
)
from ..store.scripts import exchange
from .books import unread
from .paging import Problem
from .rows import moment
from .servers import by_server

__all__ = ["GroupState", "Overview", "StreamState", "overview"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupState:
    """One group of a stream that declares it.

    `unread` wasn't delivered yet, redelivery included; None where the server can't tell, as after deletions.
    `pending` is delivered and not settled. Their oldest are so many seconds old, 0 where there is none; what is
    redelivered counts from when it was due. `retrying` waits for a later run. `consumers` are those that the server
    heard of within CLAIM_IDLE. `paused` is since when.
    """

    name: str
    unread: int | None
    oldest_unread: float
    pending: int
    oldest_pending: float
    retrying: int
    consumers: int
    paused: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """One stream: `length` counts the entries of all its lanes, `strangers` the groups that nobody declares.

    `delayed` is what is to be published later.
    """

    name: str
    length: int
    dead_letters: int
    strangers: int
    delayed: int
    groups: Sequence[GroupState]


@dataclass(frozen=True, slots=True)
class Overview:
    """The streams that could be read, in the order of the settings; and why others couldn't."""

    streams: Sequence[StreamState]
    problems: Sequence[Problem]


def overview(*streams: str) -> Overview:
    """The state of these streams, by default of every declared one.

    Raises `UnknownStream`, and `ConfigurationError` for settings that can't work.
    """
    declared = [conf.stream(name) for name in streams] or list(conf.get().streams.values())
    found: dict[str, StreamState | Exception] = {}
    for theirs in by_server(declared):
        found.update(_of_one_server(theirs))
    states = [found[each.name] for each in declared]
    return Overview(
        [each for each in states if isinstance(each, StreamState)],
        [Problem(name, each) for name, each in found.items() if isinstance(each, Exception)],
    )


def _of_one_server(streams: Sequence[StreamConfig]) -> dict[str, StreamState | Exception]:
    try:
        replies = exchange(connections.get(streams[0].connection), [overview_command(each) for each in streams])
    except (StreamsError, ResponseError) as error:
        return dict.fromkeys((each.name for each in streams), error)
    return {
        stream.name: reply if isinstance(reply, Exception) else _stream(stream, overview_of(reply))
        for stream, reply in zip(streams, replies, strict=True)
    }


def _stream(stream: StreamConfig, figures: StreamFigures) -> StreamState:
    return StreamState(
        name=stream.name,
        length=sum(each.length for each in figures.lanes),
        dead_letters=figures.dead_letters,
        strangers=figures.strangers,
        delayed=figures.delayed,
        groups=[_group(name, figures, group) for name, group in zip(stream.groups, figures.groups, strict=True)],
    )


def _group(name: str, stream: StreamFigures, group: GroupFigures) -> GroupState:
    lanes = list(zip(stream.lanes, group.sources, strict=True))
    sources = [each for _, pair in lanes for each in pair if each is not None]
    waiting = [_waiting(lane, *pair) for lane, pair in lanes]
    # Of a lane that the group isn't on yet, all is unread.
    unseen = [lane.first for lane, (main, _) in lanes if main is None]
    return GroupState(
        name=name,
        unread=None if None in waiting else sum(filter(None, waiting)),
        oldest_unread=_age(stream.now, [*unseen, *(each.oldest_unread for each in sources)]),
        pending=sum(each.pending for each in sources),
        oldest_pending=_age(stream.now, (each.oldest_pending for each in sources)),
        retrying=group.retrying,
        consumers=group.consumers,
        paused=None if group.paused is None else moment(group.paused),
    )


def _waiting(lane: LaneFigures, main: SourceFigures | None, again: SourceFigures | None) -> int | None:
    # What is settled in redelivery is deleted, so what isn't pending there is unread.
    redelivered = max(0, again.length - again.pending) if again else 0
    if main is None:
        return lane.length + redelivered
    found = unread(lane.length, lane.first, lane.last_generated, main.last_delivered, main.lag)
    return None if found is None else found + redelivered


def _age(now: int, ids: Iterable[str | None]) -> float:
    """Seconds since the oldest of these entries was added. An id that somebody made up may lie in the future."""
    begun = [int(each.partition("-")[0]) for each in ids if each]
    return max(0.0, (now - min(begun)) / 1000) if begun else 0.0
