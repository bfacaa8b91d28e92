"""Pages over several sources at once, merged into one order, with a bounded search.

A cursor is the position of the last row that was looked at. What comes after it is found in logarithmic time,
so the last page of a million entries costs as much as the first. What can only be found by reading (a group
or reason within a dead letter queue, a text) is searched for in a bounded number of entries a page; the page
says how far it got, and goes on from there.
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

# One page looks at no more than this: some tenths of a second of work.
MOST_SEARCHED: Final = 10_000
MOST_BYTES: Final = 64 * 1024 * 1024
_MOST_AT_ONCE: Final = 1_000

R = TypeVar("R", bound=MessageRecord)
S = TypeVar("S", bound=Source)


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A row's position among all rows of a listing; `str()` of it is for a URL, `Cursor.parse` reads it back."""

    position: Position
    stream: str
    source: str

    def __str__(self) -> str:
        return json.dumps([*self.position, self.stream, self.source], separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Return the cursor that a text stands for; None for any other text."""
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
    """Something found in a source, and its position among all."""

    cursor: Cursor
    source: S
    found: Found


@dataclass(frozen=True, slots=True)
class Problem:
    """What of a listing couldn't be read, and why."""

    stream: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Some rows, in order.

    `total` is how many there are in all sources, whatever is searched for. `searched` is how many of them this
    page looked at; with `by_reading`, that was more than its rows: they had to be looked for. `next` is where
    the next page begins, None where this is the last one. `groups` are the groups of the streams, declared or
    not.
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
    """Return the first `count` rows that are wanted, all readers merged; without `wanted`, simply the first.

    `fill` makes rows of what was found, None of what couldn't be read.
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
