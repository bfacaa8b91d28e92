"""Selecting dead letters, and searching the queues for them in bounded memory.

A search ends at the last entry that was there when it began. So it doesn't meet a message twice that is replayed,
fails and is dead-lettered again meanwhile.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from ... import conf, connections
from ...conf import StreamConfig
from ...inspection import DeadLetter, wanted
from ...inspection.records import dead_letter
from ...inspection.single import each_dead_letter
from ...keys import LARGEST_PART, EntryId, is_entry_id
from ...store.consume.clock import server_time
from ...store.observe.bounded import BODIES, HEADS, Extent
from ...store.observe.sources import DeadLetters
from ...store.operate import dead_letters

__all__ = ["Search", "Selection"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# How many entries are read at first, and at most at once; large ones are read in smaller parts.
_FIRST_COUNT: Final = 50
_MOST_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A selection of dead letters: those that match every given field.

    `ids` are entry ids in the queue, or ids of messages. `text` is searched for word by word in all that is known
    of a message, `error` as one text in its error and traceback, both ignoring case. `after` and `before` limit when
    it was dead-lettered; so do `newer_than` and `older_than`, in seconds before now by its server's clock. `reason` ""
    means entries that this package didn't write.
    """

    stream: str | None = None
    group: str | None = None
    type: str | None = None
    reason: str | None = None
    text: str = ""
    error: str = ""
    after: datetime | None = None
    before: datetime | None = None
    newer_than: float | None = None
    older_than: float | None = None
    ids: Sequence[str] = ()

    def wants(self) -> Callable[[DeadLetter], bool]:
        """Return a function that decides which rows are selected, without regard to their age."""
        fits = wanted(self.text, type=self.type, group=self.group, reason=self.reason)
        error, ids = self.error.casefold(), frozenset(self.ids)

        def wants(row: DeadLetter) -> bool:
            if ids and row.entry_id not in ids and row.message_id not in ids:
                return False
            if error and error not in f"{row.error}\n{row.traceback}".casefold():
                return False
            return fits is None or fits(row)

        return wants


@dataclass(slots=True)
class Search:
    """One search for the selected dead letters, `newest_first` or oldest first; it can be iterated once.

    `total` is how many dead letters there are in these streams, `searched` how many were looked at so far, at most
    `most`. `finished` is set once all were looked at; then `missing` are the ids for which there was none. Without
    `bodies` the found ones have all but their fields, and the bodies stay on the server, unless a `text` is searched
    for in them. Raises `UnknownStream`, `ServerUnreachable`, and redis-py's `ResponseError`, when it is made and while
    it is iterated.
    """

    selection: Selection
    newest_first: bool = False
    most: int | None = None
    bodies: bool = True
    total: int = field(default=0, init=False)
    searched: int = field(default=0, init=False)
    finished: bool = field(default=False, init=False)
    _parts: list[Iterator[DeadLetter]] = field(default_factory=list, init=False)
    _met: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        """Read where the queues end now."""
        name = self.selection.stream
        for stream in [conf.stream(name)] if name is not None else conf.get().streams.values():
            link = connections.get(stream.connection)
            total, last = dead_letters.extent(link, stream)
            self.total += total
            if last:
                self._parts.append(self._part(stream, last, server_time(link.at(stream.keys.main))))

    def __iter__(self) -> Iterator[DeadLetter]:
        wants, ids = self.selection.wants(), frozenset(self.selection.ids)
        for row in heapq.merge(*self._parts, key=lambda row: EntryId.of(row.entry_id), reverse=self.newest_first):
            if self.searched == self.most:
                return
            self.searched += 1
            if wants(row):
                self._met |= {row.entry_id, row.message_id} & ids
                yield row if self.bodies else row.without_body()
        self.finished = True

    @property
    def missing(self) -> list[str]:
        """The selected ids of which no dead letter was found; none before the search has finished."""
        return [each for each in self.selection.ids if each not in self._met] if self.finished else []

    def _part(self, stream: StreamConfig, last: str, now: int) -> Iterator[DeadLetter]:
        bounds = self._bounds(last, now)
        ids = list(dict.fromkeys(self.selection.ids))
        if ids and all(is_entry_id(each) for each in ids):
            return self._named(stream, ids, bounds)
        return self._walk(stream, bounds, now)

    def _named(self, stream: StreamConfig, ids: list[str], bounds: tuple[EntryId, EntryId]) -> Iterator[DeadLetter]:
        """Yield the dead letters with these ids, which are read directly."""
        first, end = bounds
        within = [each for each in sorted(map(EntryId.of, ids), reverse=self.newest_first) if first <= each <= end]
        yield from filter(None, each_dead_letter(stream.name, list(map(str, within)), bodies=self._extent.bodies))

    def _walk(self, stream: StreamConfig, bounds: tuple[EntryId, EntryId], now: int) -> Iterator[DeadLetter]:
        """Yield all dead letters within the bounds. They are read in parts, each when the part before is used up."""
        source, link = DeadLetters(stream), connections.get(stream.connection)
        (first, end), count, extent = bounds, _FIRST_COUNT, self._extent.shared(len(self._parts))
        while first <= end:
            left = str(first), str(end)
            part = dead_letters.between(link, stream, left, count, extent, newest_first=self.newest_first)
            yield from (dead_letter(source, each, now) for each in part.found)
            if not part.left:
                return
            seen = EntryId.of(part.found[-1].entry_id)
            if self.newest_first:
                end = seen.previous
            else:
                first = seen.next
            count = min(_MOST_AT_ONCE, count * 2)

    @property
    def _extent(self) -> Extent:
        return BODIES if self.bodies or self.selection.text.split() else HEADS

    def _bounds(self, last: str, now: int) -> tuple[EntryId, EntryId]:
        """Return the first and the last id that are searched, where the server's clock shows `now` in ms."""
        wanted = self.selection
        begins = [_milliseconds(wanted.after), _before(now, wanted.newer_than)]
        ends = [_milliseconds(wanted.before), _before(now, wanted.older_than)]
        firsts = [EntryId(each, 0) for each in begins if each is not None]
        lasts = [EntryId(each, LARGEST_PART) for each in ends if each is not None]
        return max([*firsts, EntryId(0, 0)]), min([*lasts, EntryId.of(last)])


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(milliseconds=1)


def _before(now: int, seconds: float | None) -> int | None:
    """Return the time so many seconds before `now`, in ms; before any entry where that is before 1970."""
    return None if seconds is None else max(0, now - round(1000 * seconds))
