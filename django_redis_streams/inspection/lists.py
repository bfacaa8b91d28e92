"""The listings: dead letters newest first, retries and delayed messages by when they are due, pending oldest first.

Each function takes filters, and returns a page; `after` is the `next` of the page before. `text` is searched for
word by word, ignoring case. A filter that needs the body of an entry (all of these but `stream`, and `group` where
each group has a list of its own) looks at no more than 10,000 entries a page.

Without `bodies` the rows have all but their fields, and the bodies stay on the server, unless `text` is searched for in
them. With `bodies` a page ends where its rows hold 16 MiB. Either way about 4 MiB are read at once, and one message of
each list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from .. import conf
from ..conf import StreamConfig
from ..store.observe.bounded import BODIES, HEADS, Entry
from ..store.observe.sources import DeadLetters, Delayed, Found, Pending, Retries, Source
from . import records
from .grouping import by_server
from .paging import Cursor, Item, Page, collect
from .reading import Reading
from .records import DeadLetter, DelayedMessage, MessageRecord, PendingMessage, RetryingMessage
from .search import wanted

__all__ = ["dead_letters", "delayed", "pending", "retrying"]

R = TypeVar("R", bound=MessageRecord)
S = TypeVar("S", bound=Source)


def dead_letters(
    *,
    stream: str | None = None,
    group: str | None = None,
    reason: str | None = None,
    type: str | None = None,  # noqa: A002  the field's own name
    text: str = "",
    after: Cursor | None = None,
    count: int = 50,
    bodies: bool = True,
) -> Page[DeadLetter]:
    """Return dead letters of a stream or of all, newest first. `reason` "" finds those that others wrote."""
    return _page(
        stream,
        lambda stream, _: [DeadLetters(stream)],
        lambda reading, items: [records.dead_letter(*_read(reading, each)) for each in items],
        wanted(text, type=type, group=group, reason=reason),
        bodies=bodies,
        searches=bool(text.split()),
        after=after,
        count=count,
    )


def retrying(
    *,
    stream: str | None = None,
    group: str | None = None,
    type: str | None = None,  # noqa: A002
    text: str = "",
    after: Cursor | None = None,
    count: int = 50,
    bodies: bool = True,
) -> Page[RetryingMessage]:
    """Return messages that failed and wait for a retry, the next first."""
    return _page(
        stream,
        lambda stream, groups: [Retries(stream, each) for each in groups if group in (None, each)],
        lambda reading, items: [records.retrying(*_read(reading, each)) for each in items],
        wanted(text, type=type),
        bodies=bodies,
        searches=bool(text.split()),
        after=after,
        count=count,
    )


def delayed(
    *,
    stream: str | None = None,
    type: str | None = None,  # noqa: A002
    text: str = "",
    after: Cursor | None = None,
    count: int = 50,
    bodies: bool = True,
) -> Page[DelayedMessage]:
    """Return messages that will be published later, the next first."""
    return _page(
        stream,
        lambda stream, _: [Delayed(stream)],
        lambda reading, items: [records.delayed(*_read(reading, each)) for each in items],
        wanted(text, type=type),
        bodies=bodies,
        searches=bool(text.split()),
        after=after,
        count=count,
    )


def pending(
    *,
    stream: str | None = None,
    group: str | None = None,
    type: str | None = None,  # noqa: A002
    text: str = "",
    after: Cursor | None = None,
    count: int = 50,
    bodies: bool = True,
) -> Page[PendingMessage]:
    """Return messages that were delivered and aren't acknowledged, in the order of the entry ids that are pending."""
    return _page(
        stream,
        lambda stream, groups: [each for name in groups if group in (None, name) for each in Pending.of(stream, name)],
        _with_entries,
        wanted(text, type=type),
        bodies=bodies,
        searches=bool(text.split()),
        after=after,
        count=count,
    )


def _page(
    stream: str | None,
    sources_of: Callable[[StreamConfig, Sequence[str]], list[S]],
    fill: Callable[[Reading[S], Sequence[Item[S]]], Iterable[R | None]],
    wants: Callable[[R], bool] | None,
    *,
    bodies: bool,
    searches: bool,
    after: Cursor | None,
    count: int,
) -> Page[R]:
    streams = [conf.stream(stream)] if stream is not None else list(conf.get().streams.values())
    # Two more: the row that `after` stands for may come again, and one shows whether there is a next page.
    reading: Reading[S] = Reading(count + 2, BODIES if bodies or searches else HEADS)
    readers, known = [], []
    for theirs in by_server(streams):
        groups = reading.groups(theirs)
        sources = [source for each, names in zip(theirs, groups, strict=True) for source in sources_of(each, names)]
        known += [name for names in groups for name in names]
        readers += reading.begin(sources, after) if sources else []
    page = collect(readers, count, lambda items: fill(reading, items), wants, bodies=bodies)
    return replace(page, total=reading.total, groups=tuple(dict.fromkeys(known)), problems=tuple(reading.problems))


def _read(reading: Reading[S], item: Item[S]) -> tuple[S, Found, int]:
    """Return an item's source, what was found there, and when by the server's clock, in ms since 1970."""
    return item.source, item.found, reading.now[item.source.stream.name]


def _with_entries(reading: Reading[Pending], items: Sequence[Item[Pending]]) -> Iterator[PendingMessage | None]:
    """Yield the rows of pending entries, with what their streams have of them; None where that can't be read."""
    streams = {each.source.stream.name: each.source.stream for each in items}
    entries: dict[str, dict[str, Iterator[Entry | None]]] = {}
    for theirs in by_server(streams.values()):
        names = {each.name for each in theirs}
        wanted: dict[str, tuple[Pending, list[str]]] = {}
        for each in items:
            if each.source.stream.name in names:
                wanted.setdefault(each.source.key, (each.source, []))[1].append(each.found.entry_id)
        entries |= dict.fromkeys(names, reading.entries(list(wanted.values())))
    for each in items:
        source, unread = each.source, Entry("", 0, ())
        entry = next(entries[source.stream.name].get(source.key, iter(())), unread)
        yield records.pending(source, each.found.holding(entry)) if entry is not unread else None
