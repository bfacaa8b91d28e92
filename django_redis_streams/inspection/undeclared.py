"""Streams of this package on a server that no setting declares: they were renamed or moved, or are other projects'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from redis.exceptions import ResponseError

from .. import conf
from ..conf import ConnectionConfig, GroupConfig, StreamConfig
from ..connections import Link
from ..keys import StreamKeys
from ..store.consume.books import lanes_ever
from ..store.observe.overview import GroupFigures, overview_command, overview_of
from ..store.observe.sources import group_names
from ..store.observe.streams import streams_there
from ..store.scripts import run

__all__ = ["UndeclaredStream", "UndeclaredStreams", "undeclared_streams"]

# So many streams, and groups of each, are looked at.
_MOST_STREAMS: Final = 20
_MOST_GROUPS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class UndeclaredStream:
    """A stream that no setting declares: `length` counts the entries of all its lanes.

    `groups` says of each group how many messages wait, None where the server can't tell. `consumed`: a consumer was
    there within a minute.
    """

    name: str
    length: int
    delayed: int
    dead_letters: int
    groups: Mapping[str, int | None]
    consumed: bool


@dataclass(frozen=True, slots=True)
class UndeclaredStreams:
    """The streams that were found; `left_out` says in sentences what wasn't looked at, and why."""

    streams: Sequence[UndeclaredStream]
    left_out: Sequence[str]


def undeclared_streams(link: Link, connection: ConnectionConfig) -> UndeclaredStreams:
    """Look for streams on a connection's server that no setting declares there. Raises the server's error."""
    config = conf.get()
    here = {alias for alias, each in config.connections.items() if each.url == connection.url}
    declared = {each.keys.main for each in config.streams.values() if each.connection in here}
    there = streams_there(link, connection.key_prefix)
    mains = sorted(there.mains - declared)
    found: list[UndeclaredStream] = []
    left_out = [] if there.complete else ["The server has too many keys to look at all of them."]
    for main in mains[:_MOST_STREAMS]:
        try:
            found.append(_stream(link, connection, main))
        except ResponseError as error:
            left_out.append(f"{main} was answered by: {error}.")
    if len(mains) > _MOST_STREAMS:
        left_out.append(f"Of {len(mains):,} undeclared streams, {_MOST_STREAMS} were looked at.")
    return UndeclaredStreams(found, left_out)


def _stream(link: Link, connection: ConnectionConfig, main: str) -> UndeclaredStream:
    name = main.removeprefix(f"{connection.key_prefix}:") if connection.key_prefix else main
    bare = StreamConfig(name=name, keys=StreamKeys(main), connection=connection.alias)
    (names,) = group_names(link, [bare])
    stream = replace(bare, groups={each: GroupConfig(name=each) for each in names[:_MOST_GROUPS]})
    figures = overview_of(run(link, overview_command(stream, lanes=lanes_ever(link, stream))))
    return UndeclaredStream(
        name=name,
        length=sum(each.length for each in figures.lanes),
        delayed=figures.delayed,
        dead_letters=figures.dead_letters,
        groups={each.name: _waiting(each) for each in figures.groups},
        consumed=any(each.consumers for each in figures.groups),
    )


def _waiting(group: GroupFigures) -> int | None:
    return None if group.unread is None else group.unread + group.pending + group.retrying
