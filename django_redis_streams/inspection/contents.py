"""What each stream holds: memory, first and last entry, and the rate of the last hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import ResponseError

from .. import conf, connections
from ..conf import StreamConfig
from ..exceptions import ServerUnreachable, StreamsError
from ..keys import EntryId
from ..store.consume.clock import server_time
from ..store.observe.contents import MOST_COUNTED, contents
from .grouping import server_of
from .paging import Problem
from .records import age

__all__ = ["StreamContents", "stream_contents"]

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamContents:
    """One stream, all its lanes together.

    `memory` is in bytes, None where an ACL forbids to ask. `first` and `last` are the ids of the oldest and the newest
    entry, None for an empty stream; `first_age` and `last_age` are their ages in seconds, None also where an id lies in
    the future. `rate` is how many messages a second came in the last hour, counting those that are still there; if more
    than 10,000 came, the rate of the newest of these; None where ids lie in the future, as nobody knows when these
    entries came.
    """

    name: str
    memory: int | None
    first: str | None
    last: str | None
    first_age: float | None
    last_age: float | None
    rate: float | None


def stream_contents(*names: str) -> tuple[Sequence[StreamContents], Sequence[Problem]]:
    """Return the contents of these streams (default: all declared ones), and the problems of those that can't be read.

    Raises `UnknownStream`, and `ConfigurationError` for settings that can't work.
    """
    found, problems = [], []
    lost: dict[tuple[str, str], ServerUnreachable] = {}
    for stream in [conf.stream(name) for name in names] or conf.get().streams.values():
        try:
            if (server := server_of(stream)) in lost:  # as each try takes time
                raise lost[server]
            found.append(_contents(stream))
        except (StreamsError, ResponseError) as error:
            problems.append(Problem(stream.name, error))
            if isinstance(error, ServerUnreachable):
                lost[server] = error
    return found, problems


def _contents(stream: StreamConfig) -> StreamContents:
    link = connections.get(stream.connection)
    now = server_time(link.at(stream.keys.main))
    lanes = contents(link, stream, now - _HOUR_MS)
    firsts = sorted((each.first for each in lanes if each.first), key=EntryId.of)
    lasts = sorted((each.last for each in lanes if each.last), key=EntryId.of)
    last_age = age(now, lasts[-1]) if lasts else None
    memories = [each.memory for each in lanes]
    return StreamContents(
        name=stream.name,
        memory=None if None in memories else sum(filter(None, memories)),
        first=firsts[0] if firsts else None,
        last=lasts[-1] if lasts else None,
        first_age=age(now, firsts[0]) if firsts else None,
        last_age=last_age,
        rate=None if lasts and last_age is None else sum(_rate(now, each.recent, each.oldest_recent) for each in lanes),
    )


def _rate(now: int, recent: int, oldest: str | None) -> float:
    """Return how many messages a second came: in the hour, or, if not all were counted, since the oldest counted."""
    if recent < MOST_COUNTED or oldest is None:
        return recent / (_HOUR_MS / 1000)
    return recent / max(0.001, (now - EntryId.of(oldest).milliseconds) / 1000)
