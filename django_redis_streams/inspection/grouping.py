"""Grouping streams by server: each server costs one round trip, however many of its streams are asked for.

Each node of a cluster is a server here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from time import time
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from .. import conf, connections
from ..conf import StreamConfig
from ..exceptions import StreamsError
from ..store.scripts import Command, exchange
from .paging import Problem

__all__ = ["Answer", "ask_each", "ask_servers", "by_server", "in_order", "server_of"]


def server_of(stream: StreamConfig) -> tuple[str, str]:
    """Return what names the server of a stream: its connection, and of a cluster the node that has it now."""
    return stream.connection, connections.node(stream.connection, stream.keys.main)


def by_server(streams: Iterable[StreamConfig]) -> list[list[StreamConfig]]:
    """Return these streams, grouped by server, in their order."""
    found: dict[tuple[str, str], list[StreamConfig]] = {}
    for each in sorted(streams, key=attrgetter("connection")):
        found.setdefault(server_of(each), []).append(each)
    return list(found.values())


class Answer(NamedTuple):
    """What one server replied: to the command of each of these streams, and to further ones.

    An error stands in a reply's place. The replies were made between two times by this host's clock, in seconds since
    1970. `node` is that of a cluster, "" for a single server.
    """

    streams: Sequence[StreamConfig]
    replies: Sequence[Any]
    further: Sequence[Any]
    asked: float
    answered: float
    node: str = ""


def ask_servers(
    names: Sequence[str], command: Callable[[StreamConfig], Command], further: Sequence[Command] = ()
) -> list[Answer]:
    """Send each server a command for each of these streams (default: all declared ones), and some further ones.

    Each server costs one round trip. Raises `UnknownStream`, and `ConfigurationError` for settings that can't work.
    """
    return [_ask(theirs, command, further) for theirs in by_server(_declared(names))]


def in_order(names: Sequence[str], answers: Iterable[Answer]) -> tuple[list[tuple[StreamConfig, Any]], list[Problem]]:
    """Return the streams that could be asked, in the given order, each with its reply; and the others' problems."""
    found = {stream.name: reply for each in answers for stream, reply in zip(each.streams, each.replies, strict=True)}
    return (
        [(each, found[each.name]) for each in _declared(names) if not isinstance(found[each.name], Exception)],
        [Problem(name, each) for name, each in found.items() if isinstance(each, Exception)],
    )


def ask_each(
    names: Sequence[str], command: Callable[[StreamConfig], Command]
) -> tuple[list[tuple[StreamConfig, Any]], list[Problem]]:
    """Do as `ask_servers`, and return the replies as `in_order` does."""
    return in_order(names, ask_servers(names, command))


def _declared(names: Sequence[str]) -> list[StreamConfig]:
    return [conf.stream(name) for name in dict.fromkeys(names)] or list(conf.get().streams.values())


def _ask(
    streams: Sequence[StreamConfig], command: Callable[[StreamConfig], Command], further: Sequence[Command]
) -> Answer:
    asked, node = time(), server_of(streams[0])[1]
    try:
        replies = exchange(connections.get(streams[0].connection), [*map(command, streams), *further])
    except (StreamsError, ResponseError) as error:
        replies = [error] * (len(streams) + len(further))
    return Answer(streams, replies[: len(streams)], replies[len(streams) :], asked, time(), node)
