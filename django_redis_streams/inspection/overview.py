"""The state of every stream and group: its messages, how many of them wait and for how long, its consumers.

What servers say of themselves comes with it if asked for. One round trip for each server, at a cost that doesn't
depend on the number of messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ..conf import StreamConfig
from ..store.consume.clock import ClockRecord, seconds_ahead
from ..store.consume.groups import Deletion
from ..store.observe.overview import GroupFigures, StreamFigures, overview_command, overview_of
from ..store.observe.server import Facts, facts_command, facts_of
from .grouping import Answer, ask_servers, in_order
from .paging import Problem
from .records import age, moment

__all__ = ["GroupState", "Overview", "ServerState", "StreamState", "overview"]

# For how long a jump of a server's clock is shown.
_JUMP_SHOWN_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupState:
    """One group of a stream that declares it.

    `unread` messages aren't delivered yet, redelivery included; None where the server can't tell, as after deletions.
    `pending` ones are delivered and not settled. The oldest of each are so many seconds old, 0 where there are none,
    None where that can't be told, as their ids lie in the future; the age of a redelivered one counts from when it was
    due. `longest_idle` is how many seconds ago the message that a consumer holds for longest was delivered to it or
    renewed by it, 0 where none is held. `retrying` ones wait for a later run; `overdue` of them were due half a minute
    ago or more. `suspects` may have ended a worker. `consumers` counts those that are alive: a worker's as long as its
    process says so, another client's within CLAIM_IDLE of its last read. `paused` is since when, `deletion` when and by
    whom the group was deleted on purpose. `missing`: a stream of its lanes exists without the group. `totals` are the
    counts of outcomes since ever.
    """

    name: str
    unread: int | None
    oldest_unread: float | None
    pending: int
    oldest_pending: float | None
    longest_idle: float
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
    ago or more. `last_ids` has the last id ever of each lane, by its key; "0-0" where there is none. `clock` is what is
    known of the server's clock.
    """

    name: str
    length: int
    dead_letters: int
    undeclared_groups: int
    group_names: AbstractSet[str]
    delayed: int
    overdue: int
    last_ids: Mapping[str, str]
    clock: ClockRecord
    groups: Sequence[GroupState]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """The server of one connection, or a `node` of its cluster that has declared streams.

    `facts` is what it says of itself, or the error of asking. Its clock shows at least `clock_ahead` seconds more than
    this host's (negative: less), and has jumped by `clock_jump` seconds within the last hour (negative: back; 0: it
    hasn't). Both are None where no stream could be read.
    """

    connection: str
    facts: Facts | Exception
    clock_ahead: float | None = None
    clock_jump: float | None = None
    node: str = ""

    @property
    def name(self) -> str:
        """The connection's alias, and behind it the node's address."""
        return f"{self.connection} {self.node}" if self.node else self.connection


@dataclass(frozen=True, slots=True)
class Overview:
    """The streams that could be read, in the order of the settings; and the problems of the others.

    `servers` are those of the streams, where they were asked for.
    """

    streams: Sequence[StreamState]
    problems: Sequence[Problem]
    servers: Sequence[ServerState] = ()


def overview(*streams: str, with_servers: bool = False) -> Overview:
    """Return the state of these streams (default: all declared ones), and of their servers if asked for.

    Raises `UnknownStream`, and `ConfigurationError` for settings that can't work.
    """
    answers = ask_servers(streams, overview_command, [facts_command()] if with_servers else [])
    found, problems = in_order(streams, answers)
    states = [_stream(stream, overview_of(reply)) for stream, reply in found]
    return Overview(states, problems, [_server(each, states) for each in answers] if with_servers else [])


def _server(answer: Answer, states: Sequence[StreamState]) -> ServerState:
    (told,) = answer.further
    names = {stream.name for stream in answer.streams}
    clocks = [each.clock for each in states if each.name in names]
    return ServerState(
        connection=answer.streams[0].connection,
        node=answer.node,
        facts=told if isinstance(told, Exception) else facts_of(told),
        clock_ahead=seconds_ahead(clocks[0].now, answer.asked, answer.answered) if clocks else None,
        clock_jump=max((each.jump_within(_JUMP_SHOWN_MS) / 1000 for each in clocks), key=abs, default=None),
    )


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
        last_ids={stream.keys.lane(lane.name): lane.last_generated for lane in figures.lanes},
        clock=figures.clock,
        groups=[_group(figures, group) for group in figures.groups],
    )


def _group(stream: StreamFigures, group: GroupFigures) -> GroupState:
    now = stream.clock.now
    return GroupState(
        name=group.name,
        unread=group.unread,
        oldest_unread=0.0 if group.oldest_unread is None else age(now, group.oldest_unread),
        pending=group.pending,
        oldest_pending=0.0 if group.oldest_pending is None else age(now, group.oldest_pending),
        longest_idle=group.longest_idle / 1000,
        retrying=group.retrying,
        overdue=group.overdue,
        suspects=group.suspects,
        consumers=group.consumers,
        paused=None if group.paused is None else moment(group.paused),
        deletion=group.deletion,
        missing=any(each.groups is not None and group.name not in each.groups for each in stream.lanes),
        totals=group.totals,
    )
