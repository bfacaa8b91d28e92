"""Pages over several sources at once, merged into one order, with a bounded search.

A cursor is the position of the last row that was looked at. The rows after it are found in logarithmic time,
so the last page of a million entries costs as much as the first. Where only reading can find the rows (by a group
or reason in a dead letter queue, or by a text), a page looks at a bounded number of entries, says how far it got,
and the next page goes on from there.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Generic, TypeVar

from ..store.observe.sources import Found, Position, Source
from .records import MessageRecord

__all__ = ["Cursor", "Item", "Page", "Problem", "collect"]

# One page looks at no more entries than this: some tenths of a second of work.
MOST_SEARCHED: Final = 10_000
MOST_BYTES: Final = 64 * 1024 * 1024
_MOST_AT_ONCE: Final = 1_000

R = TypeVar("R", bound=MessageRecord)
S = TypeVar("S", bound=Source)


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A row's position among all rows of a listing; `str()` makes text for a URL, `Cursor.parse` reads it back."""

    position: Position
    stream: str
    source: str

    def __str__(self) -> str:
        return json.dumps([*self.position, self.stream, self.source], separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Return the cursor that a text was made of; None for any other text."""
        try:
            first, second, token, stream, source = json.loads(text)
            for each in (token, stream, source):
                str.encode(each, "utf-8", "surrogateescape")
            number = type(first) in (int, float) and type(second) is int and math.isfinite(first)
        except (ValueError, TypeError, OverflowError, RecursionError):
            return None
        return cls(Position(first, second, token), stream, source) if number else None


@dataclass(frozen=True, slots=True)
class Item(Generic[S]):
    """An entry found in a source, and its position among all."""

    cursor: Cursor
    source: S
    found: Found


@dataclass(frozen=True, slots=True)
class Problem:
    """A stream that a listing couldn't read, and the error."""

    stream: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Some rows, in order.

    `total` is how many rows there are in all sources, whatever the filters. `searched` is how many of them this
    page looked at: with `by_reading`, it may show fewer. `next` is where the next page begins, None for the last page.
    `groups` are the groups of the streams, declared or not.
    """

    rows: Sequence[R]
    total: int = 0
    searched: int = 0
    by_reading: bool = False
    next: Cursor | None = None
    groups: Sequence[str] = ()
    problems: Sequence[Problem] = ()


def collect(
    readers: Sequence[Iterator[Item[S]]],
    count: int,
    fill: Callable[[Sequence[Item[S]]], Sequence[R | None]],
    wanted: Callable[[R], bool] | None,
) -> Page[R]:
    """Return the first `count` wanted rows of all readers, merged; without `wanted`, the first `count` rows.

    `fill` makes rows of the found items, and None of an item that can't be read.
    """
    merged = heapq.merge(*readers, key=lambda item: item.cursor)
    rows: list[R] = []
    searched = size = 0
    step, last, over, left = count, None, False, False
    while not over and len(rows) < count and searched < MOST_SEARCHED and size < MOST_BYTES:
        asked = min(step, MOST_SEARCHED - searched)
        batch = list(islice(merged, asked))
        over, step = len(batch) < asked, min(step * 2, _MOST_AT_ONCE)
        for item, row in zip(batch, fill(batch), strict=True):
            if len(rows) == count:
                left = True
                break
            searched, last = searched + 1, item.cursor
            if row is not None:
                size += row.size
                if wanted is None or wanted(row):
                    rows.append(row)
    more = left or (not over and next(merged, None) is not None)
    return Page(rows, searched=searched, by_reading=wanted is not None, next=last if more else None)
