"""Messages by their ids: for their own pages, and for the actions on them.

Each function returns a row for each id, None for a missing one. Without `bodies` the rows have all but their fields,
and the bodies stay on the server. Raises `UnknownStream`, and the server's errors: `ServerUnreachable`, redis-py's
`ResponseError`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from .. import conf, connections
from ..connections import Link
from ..keys import is_entry_id
from ..store.consume.clock import server_time
from ..store.observe.bounded import BODIES, HEADS, Entry, Extent, by_identity, entries_of, named
from ..store.observe.sources import DeadLetters, Delayed, Found, Pending, Retries, group_names, source_kinds
from ..store.replies import group_is_gone
from ..store.scripts import exchange, run
from . import records
from .records import DeadLetter, DelayedMessage, MessageRecord, PendingMessage, RetryingMessage

__all__ = ["each_dead_letter", "find_dead_letters", "find_delayed", "find_pending", "find_retrying"]

R = TypeVar("R", bound=MessageRecord)


def find_dead_letters(stream: str, entry_ids: Sequence[str], *, bodies: bool = True) -> list[DeadLetter | None]:
    """Return dead letters of a stream by their own entry ids."""
    known = [each for each in entry_ids if is_entry_id(each)]
    found = dict(zip(known, each_dead_letter(stream, known, bodies=bodies), strict=True))
    return [found.get(each) for each in entry_ids]


def each_dead_letter(stream: str, entry_ids: Sequence[str], *, bodies: bool) -> Iterator[DeadLetter | None]:
    """Yield what `find_dead_letters` returns, read as it is asked for. Each id is one that an entry may have."""
    config = conf.stream(stream)
    source, link = DeadLetters(config), connections.get(config.connection)
    now = server_time(link.at(config.keys.main)) if entry_ids else 0
    for each in _some(link, source, entry_ids, _extent(bodies)):
        yield _row(records.dead_letter(source, each, now), bodies) if each else None


def find_retrying(
    stream: str, tokens: Sequence[tuple[str, str]], *, bodies: bool = True
) -> list[RetryingMessage | None]:
    """Return retries of a stream, each by (group, token)."""
    config = conf.stream(stream)
    link = connections.get(config.connection)
    there, now = group_names(link, [config])[0], server_time(link.at(config.keys.main))
    wanted: dict[str, list[str]] = defaultdict(list)
    for group, token in tokens:
        wanted[group].append(token)
    found: dict[tuple[str, str], RetryingMessage] = {}
    for group in filter(wanted.__contains__, there):
        source = Retries(config, group)
        for each in filter(None, _some(link, source, wanted[group], _extent(bodies))):
            found[group, each.token] = _row(records.retrying(source, each, now), bodies)
    return [found.get(each) for each in tokens]


def find_delayed(stream: str, tokens: Sequence[str], *, bodies: bool = True) -> list[DelayedMessage | None]:
    """Return delayed messages of a stream by their tokens."""
    config = conf.stream(stream)
    source, link = Delayed(config), connections.get(config.connection)
    now, found = server_time(link.at(config.keys.main)), _some(link, source, tokens, _extent(bodies))
    return [_row(records.delayed(source, each, now), bodies) if each else None for each in found]


def find_pending(
    stream: str, entries: Sequence[tuple[str, str, str]], *, bodies: bool = True
) -> list[PendingMessage | None]:
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
    replies = iter(exchange(link, [source.one_command(entry_id) for source, entry_id in filter(None, wanted)]))
    found = [(each[0], row) if each and (row := _one(each[0], next(replies))) else None for each in wanted]
    there = _entries(link, [(source, row.entry_id) for source, row in filter(None, found)], _extent(bodies))
    return [_row(records.pending(each[0], each[1].holding(next(there))), bodies) if each else None for each in found]


def _some(
    link: Link, source: DeadLetters | Retries, identities: Sequence[str], extent: Extent
) -> Iterator[Found | None]:
    """Yield what the server has of each."""
    return by_identity(identities, lambda some: source.part(run(link, source.some_command(some, extent))))


def _one(source: Pending, reply: Any) -> Found | None:
    if isinstance(reply, Exception):
        if group_is_gone(reply):
            return None
        raise reply
    found = source.part(reply, 1).found
    return found[0] if found else None


def _entries(link: Link, wanted: Sequence[tuple[Pending, str]], extent: Extent) -> Iterator[Entry | None]:
    """Yield what each pending entry holds, None for one that was deleted or trimmed."""
    ids: dict[str, list[str]] = defaultdict(list)
    for source, entry_id in wanted:
        ids[source.key].append(entry_id)

    def of_key(key: str) -> Iterator[Entry | None]:
        return by_identity(ids[key], lambda some: entries_of(run(link, named(key, some, extent))))

    entries = {key: of_key(key) for key in ids}
    return (next(entries[source.key]) for source, _ in wanted)


def _extent(bodies: bool) -> Extent:
    return BODIES if bodies else HEADS


def _row(row: R, bodies: bool) -> R:
    return row if bodies else row.without_body()
