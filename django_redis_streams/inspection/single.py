"""Messages by their ids: for their own pages, and for the actions on them.

Each function returns a row for each id, None for a missing one. Raises `UnknownStream`, and
the server's errors: `ServerUnreachable`, redis-py's `ResponseError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from .. import conf, connections
from ..connections import Link
from ..keys import is_entry_id
from ..store.observe.sources import (
    DeadLetters,
    Delayed,
    Found,
    Pending,
    Retries,
    Source,
    bodies,
    group_names,
    source_kinds,
)
from ..store.scripts import exchange
from . import records
from .records import DeadLetter, DelayedMessage, PendingMessage, RetryingMessage

__all__ = ["find_dead_letters", "find_delayed", "find_pending", "find_retrying"]

S = TypeVar("S", bound=Source)


def find_dead_letters(stream: str, entry_ids: Sequence[str]) -> list[DeadLetter | None]:
    """Return dead letters of a stream by their own entry ids."""
    config = conf.stream(stream)
    source = DeadLetters(config)
    wanted = [(source, each) if is_entry_id(each) else None for each in entry_ids]
    found = _find(connections.get(config.connection), wanted)
    return [records.dead_letter(source, each) if each else None for each in found]


def find_retrying(stream: str, tokens: Sequence[tuple[str, str]]) -> list[RetryingMessage | None]:
    """Return retries of a stream, each by (group, token)."""
    config = conf.stream(stream)
    link = connections.get(config.connection)
    sources = {group: Retries(config, group) for group in group_names(link, [config])[0]}
    wanted = [(sources[group], token) if group in sources else None for group, token in tokens]
    found = _find(link, wanted)
    return [
        records.retrying(sources[group], each) if each else None for (group, _), each in zip(tokens, found, strict=True)
    ]


def find_delayed(stream: str, tokens: Sequence[str]) -> list[DelayedMessage | None]:
    """Return delayed messages of a stream by their tokens."""
    config = conf.stream(stream)
    source = Delayed(config)
    found = _find(connections.get(config.connection), [(source, each) for each in tokens])
    return [records.delayed(source, each) if each else None for each in found]


def find_pending(stream: str, entries: Sequence[tuple[str, str, str]]) -> list[PendingMessage | None]:
    """Return pending messages of a stream, each by (group, source, entry id)."""
    config = conf.stream(stream)
    link = connections.get(config.connection)
    groups = group_names(link, [config])[0]
    wanted = [
        (Pending(config, group, source), entry_id)
        if group in groups and source in source_kinds(config) and is_entry_id(entry_id)
        else None
        for group, source, entry_id in entries
    ]
    found = [(each[0], row) if each and row else None for each, row in zip(wanted, _find(link, wanted), strict=True)]
    read = iter(bodies(link, [(source, row.entry_id) for source, row in filter(None, found)]))
    return [records.pending(each[0], each[1]._replace(fields=next(read))) if each else None for each in found]


def _find(link: Link, wanted: Sequence[tuple[S, str] | None]) -> list[Found | None]:
    """Return what the server has of each; None for each None."""
    replies = iter(exchange(link, [source.some_command(identity) for source, identity in filter(None, wanted)]))
    return [_first(each[0], next(replies)) if each else None for each in wanted]


def _first(source: Source, reply: Any) -> Found | None:
    if isinstance(reply, Exception):
        if str(reply).startswith("NOGROUP"):
            return None
        raise reply
    found = source.found(reply)
    return found[0] if found else None
