"""Grouping streams by server: each server costs one round trip, however many of its streams are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from redis.exceptions import ResponseError

from .. import conf, connections
from ..conf import StreamConfig
from ..exceptions import StreamsError
from ..store.scripts import Command, exchange
from .paging import Problem

__all__ = ["ask_each", "by_server"]


def by_server(streams: Iterable[StreamConfig]) -> list[list[StreamConfig]]:
    """Return these streams, grouped by connection, in their order."""
    alias = attrgetter("connection")
    return [list(theirs) for _, theirs in groupby(sorted(streams, key=alias), alias)]


def ask_each(
    names: Sequence[str], command: Callable[[StreamConfig], Command]
) -> tuple[list[tuple[StreamConfig, Any]], list[Problem]]:
    """Send a command for each of these streams (default: all declared ones), in one round trip for each server.

    Returns the streams that could be asked, each with its reply, in the given order; and the problems of the others.
    Raises `UnknownStream`, and `ConfigurationError` for settings that can't work.
    """
    declared = [conf.stream(name) for name in names] or list(conf.get().streams.values())
    found: dict[str, Any] = {}
    for theirs in by_server(declared):
        try:
            replies = exchange(connections.get(theirs[0].connection), [command(each) for each in theirs])
        except (StreamsError, ResponseError) as error:
            replies = [error] * len(theirs)
        found |= {stream.name: reply for stream, reply in zip(theirs, replies, strict=True)}
    return (
        [(each, found[each.name]) for each in declared if not isinstance(found[each.name], Exception)],
        [Problem(name, each) for name, each in found.items() if isinstance(each, Exception)],
    )
