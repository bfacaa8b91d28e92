"""Pages over several sources at once, merged into one order, with a bounded search.

A cursor is the position of the last row that was looked at. The rows after it are found in logarithmic time,
so the last page of a million entries costs as much as the first. Where only reading can find the rows (by a group
or reason in a dead letter queue, or by a text), a page looks at a bounded number of entries, says how far it got,
and the next page goes on from there. A page of rows with their bodies ends where these are large, likewise.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Generic, TypeVar

from ..store.observe.bounded import BYTES_AT_ONCE
from ..store.observe.sources import Found, Position, Source
from .records import MessageRecord

__all__ = ["Cursor", "Item", "Page", "Problem", "collect", "taken"]

# One page looks at no more entries than this: some tenths of a second of work.
MOST_SEARCHED: Final = 10_000
MOST_BYTES: Final = 64 * 1024 * 1024
# The bodies of one page's rows.
MOST_HELD: Final = 16 * 1024 * 1024
_MOST_AT_ONCE: Final = 1_000

R = TypeVar("R", bound=MessageRecord)
T = TypeVar("T")
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
    page looked at: with `by_reading`, it may show fewer. It also shows fewer than were asked for where their bodies are
    large. `next` is where the next page begins, None for the last page.
    `groups` are the groups of the streams, declared or not.
    """

    rows: Sequence[R]
    total: int = 0
    searched: int = 0
    by_reading: bool = False
    next: Cursor | None = None
    groups: Sequence[str] = ()
    problems: Sequence[Problem] = ()


def taken(things: Iterator[T], most: int, held: Callable[[T], int]) -> list[T]:
    """Return the next things: `most`, or fewer that together hold as many bytes as are read at once, but one at least.

    `held` returns how many bytes a thing holds.
    """
    found: list[T] = []
    size = 0
    while len(found) < most and size < BYTES_AT_ONCE and (some := list(islice(things, 1))):
        found += some
        size += held(some[0])
    return found


def collect(
    readers: Sequence[Iterator[Item[S]]],
    count: int,
    fill: Callable[[Sequence[Item[S]]], Iterable[R | None]],
    wanted: Callable[[R], bool] | None,
    *,
    bodies: bool,
) -> Page[R]:
    """Return the first `count` wanted rows of all readers, merged; without `wanted`, the first `count` rows.

    `fill` makes rows of the found items, and None of an item that can't be read. Without `bodies` a row is left without
    its body once it was looked at.
    """
    merged = heapq.merge(*readers, key=lambda item: item.cursor)
    rows: list[R] = []
    searched = size = held = 0
    step, last, left = count, None, False
    most_bytes = MOST_BYTES if wanted is not None else math.inf

    def full() -> bool:
        return len(rows) == count or searched == MOST_SEARCHED or size >= most_bytes or held >= MOST_HELD

    while not full() and (batch := taken(merged, min(step, MOST_SEARCHED - searched), _held)):
        step = min(step * 2, _MOST_AT_ONCE)
        for item, row in zip(batch, fill(batch), strict=True):
            if full():
                left = True
                break
            searched, last = searched + 1, item.cursor
            if row is not None:
                size += row.size
                if wanted is None or wanted(row):
                    rows.append(row if bodies else row.without_body())
                    held += rows[-1].held
    more = left or next(merged, None) is not None
    return Page(rows, searched=searched, by_reading=wanted is not None, next=last if more else None)


def _held(item: Item[S]) -> int:
    return sum(map(len, item.found.fields or ()))
