"""The listings: dead letters newest first, retries and delayed messages by when they are due, pending oldest first.

Each function takes filters, and returns a page; `after` is the `next` of the page before. `text` is searched for
word by word, ignoring case. A filter that needs the body of an entry (all of these but `stream`, and `group` where
each group has a list of its own) looks at no more than 10,000 entries a page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

from .. import conf
from ..conf import StreamConfig
from ..store.observe.sources import DeadLetters, Delayed, Pending, Retries, Source, bodies
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
) -> Page[DeadLetter]:
    """Return dead letters of a stream or of all, newest first. `reason` "" finds those that others wrote."""
    return _page(
        stream,
        lambda stream, _: [DeadLetters(stream)],
        lambda _, items: [records.dead_letter(each.source, each.found) for each in items],
        wanted(text, type=type, group=group, reason=reason),
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
) -> Page[RetryingMessage]:
    """Return messages that failed and wait for a retry, the next first."""
    return _page(
        stream,
        lambda stream, groups: [Retries(stream, each) for each in groups if group in (None, each)],
        lambda _, items: [records.retrying(each.source, each.found) for each in items],
        wanted(text, type=type),
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
) -> Page[DelayedMessage]:
    """Return messages that will be published later, the next first."""
    return _page(
        stream,
        lambda stream, _: [Delayed(stream)],
        lambda _, items: [records.delayed(each.source, each.found) for each in items],
        wanted(text, type=type),
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
) -> Page[PendingMessage]:
    """Return messages that were delivered and aren't acknowledged, in the order of the entry ids that are pending."""
    return _page(
        stream,
        lambda stream, groups: [each for name in groups if group in (None, name) for each in Pending.of(stream, name)],
        _with_bodies,
        wanted(text, type=type),
        after=after,
        count=count,
    )


def _page(
    stream: str | None,
    sources_of: Callable[[StreamConfig, Sequence[str]], list[S]],
    fill: Callable[[Reading[S], Sequence[Item[S]]], Sequence[R | None]],
    wants: Callable[[R], bool] | None,
    *,
    after: Cursor | None,
    count: int,
) -> Page[R]:
    streams = [conf.stream(stream)] if stream is not None else list(conf.get().streams.values())
    # Two more: the row that `after` stands for may come again, and one shows whether there is a next page.
    reading: Reading[S] = Reading(count + 2)
    readers, known = [], []
    for theirs in by_server(streams):
        groups = reading.groups(theirs)
        sources = [source for each, names in zip(theirs, groups, strict=True) for source in sources_of(each, names)]
        known += [name for names in groups for name in names]
        readers += reading.begin(sources, after) if sources else []
    page = collect(readers, count, lambda items: fill(reading, items), wants)
    return replace(page, total=reading.total, groups=tuple(dict.fromkeys(known)), problems=tuple(reading.problems))


def _with_bodies(reading: Reading[Pending], items: Sequence[Item[Pending]]) -> Sequence[PendingMessage | None]:
    """Return the rows of pending entries. The bodies on each server are read at once."""
    found: dict[Cursor, PendingMessage] = {}
    alias = attrgetter("source.stream.connection")
    for _, theirs in groupby(sorted(items, key=alias), alias):
        found.update(_rows_of_one_server(reading, list(theirs)))
    return [found.get(each.cursor) for each in items]


def _rows_of_one_server(reading: Reading[Pending], items: Sequence[Item[Pending]]) -> dict[Cursor, PendingMessage]:
    asked = [(each.source, each.found.entry_id) for each in items]
    read = reading.ask([each.source.stream for each in items], lambda link: bodies(link, asked))
    return {
        item.cursor: records.pending(item.source, item.found._replace(fields=fields))
        for item, fields in zip(items, read or (), strict=False)
    }
