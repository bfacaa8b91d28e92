"""Reading sources, server by server: an error is noted, and holds up no other source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from redis.exceptions import ResponseError

from .. import connections
from ..conf import StreamConfig
from ..connections import Link
from ..exceptions import ServerUnreachable
from ..store.observe.sources import BEGIN, Found, Position, Source, group_names
from ..store.scripts import exchange
from .paging import Cursor, Item, Problem

__all__ = ["Reading"]

# One command replies with no more entries than this.
_MOST_AT_ONCE: Final = 1_000
_BYTES_AT_ONCE: Final = 4 * 1024 * 1024

S = TypeVar("S", bound=Source)


@dataclass(slots=True)
class Reading(Generic[S]):
    """One look at some streams: how many entries to read first, how many there are, and the problems."""

    count: int
    total: int = 0
    problems: list[Problem] = field(default_factory=list)
    _lost: dict[str, ServerUnreachable] = field(default_factory=dict)

    def ask(self, streams: Sequence[StreamConfig], question: Callable[[Link], Any]) -> Any:
        """Return the answer of the server that these streams share, or None after an error, which is noted.

        A server that was unreachable isn't asked again, as each try takes time.
        """
        alias = streams[0].connection
        if alias not in self._lost:
            try:
                return question(connections.get(alias))
            except ServerUnreachable as error:
                self._lost[alias] = error
            except ResponseError as error:
                self._note(streams, error)
                return None
        self._note(streams, self._lost[alias])
        return None

    def groups(self, streams: Sequence[StreamConfig]) -> list[list[str]]:
        """Return the groups of each of these streams of one server; if it can't be asked, the declared groups."""
        found: list[list[str]] | None = self.ask(streams, lambda link: group_names(link, streams))
        return found if found is not None else [list(stream.groups) for stream in streams]

    def begin(self, sources: Sequence[S], after: Cursor | None) -> list[Iterator[Item[S]]]:
        """Count the entries of one server's sources and read the first of each, in one round trip."""
        begin = after.position if after else BEGIN
        sizes = [each.size_command() for each in sources]
        first = [each.read_command(begin, self.count) for each in sources]
        streams = [each.stream for each in sources]
        replies = self.ask(streams, lambda link: exchange(link, [*sizes, *first])) or []
        readers = []
        for source, size, found in zip(sources, replies[: len(sizes)], replies[len(sizes) :], strict=False):
            if self._usable(source, size) and self._usable(source, found):
                self.total += source.size(size)
                readers.append(self._rows(source, after, source.found(found)))
        return readers

    def _rows(self, source: S, after: Cursor | None, found: list[Found]) -> Iterator[Item[S]]:
        asked = self.count
        while True:
            for each in found:
                cursor = Cursor(each.position, source.stream.name, source.name)
                if after is None or cursor > after:
                    after = cursor
                    yield Item(cursor, source, each)
            if len(found) < asked:
                return
            # Read on from the last entry, inclusive: it may be gone by then, and others may share its position.
            position, asked = found[-1].position, 1 + _next_count(found, asked)
            found = self._more(source, position, asked)

    def _more(self, source: S, begin: Position, count: int) -> list[Found]:
        command = source.read_command(begin, count)
        reply = self.ask([source.stream], lambda link: exchange(link, [command])[0])
        return source.found(reply) if reply is not None and self._usable(source, reply) else []

    def _usable(self, source: S, reply: Any) -> bool:
        if not isinstance(reply, Exception):
            return True
        # A group that isn't there has nothing pending.
        if not str(reply).startswith("NOGROUP"):
            self._note([source.stream], reply)
        return False

    def _note(self, streams: Sequence[StreamConfig], error: Exception) -> None:
        self.problems += [Problem(name, error) for name in dict.fromkeys(stream.name for stream in streams)]


def _next_count(found: Sequence[Found], count: int) -> int:
    """Return twice as many as last time, or fewer where the entries were large."""
    size = 1 + sum(len(text) for each in found for text in each.fields or ())
    return max(1, min(_MOST_AT_ONCE, count * 2, _BYTES_AT_ONCE * len(found) // size))
