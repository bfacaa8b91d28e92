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
from ..store.consume.clock import time_command, time_of
from ..store.observe.bounded import Entry, Extent, Part, by_identity, entries_of, named
from ..store.observe.sources import BEGIN, Pending, Source, group_names
from ..store.scripts import Command, exchange
from .grouping import server_of
from .paging import Cursor, Item, Problem

__all__ = ["Reading"]

# One command replies with no more entries than this.
_MOST_AT_ONCE: Final = 1_000

S = TypeVar("S", bound=Source)


@dataclass(slots=True)
class Reading(Generic[S]):
    """One look at some streams: how many entries to read first and how much of each, how many there are, the problems.

    `now` is what the clock of its server showed, in ms since 1970, by the name of each stream that was read.
    All sources together hold about as many bytes as the `extent` allows, and one entry each at least.
    """

    count: int
    extent: Extent
    total: int = 0
    problems: list[Problem] = field(default_factory=list)
    now: dict[str, int] = field(default_factory=dict)
    _lost: dict[tuple[str, str], ServerUnreachable] = field(default_factory=dict)

    def ask(self, streams: Sequence[StreamConfig], question: Callable[[Link], Any]) -> Any:
        """Return the answer of the server that these streams share, or None after an error, which is noted.

        A server that was unreachable isn't asked again, as each try takes time.
        """
        server = server_of(streams[0])
        if server not in self._lost:
            try:
                return question(connections.get(streams[0].connection))
            except ServerUnreachable as error:
                self._lost[server] = error
            except ResponseError as error:
                self._note(streams, error)
                return None
        self._note(streams, self._lost[server])
        return None

    def groups(self, streams: Sequence[StreamConfig]) -> list[list[str]]:
        """Return the groups of each of these streams of one server; if it can't be asked, the declared groups."""
        found: list[list[str]] | None = self.ask(streams, lambda link: group_names(link, streams))
        return found if found is not None else [list(stream.groups) for stream in streams]

    def begin(self, sources: Sequence[S], after: Cursor | None) -> list[Iterator[Item[S]]]:
        """Count the entries of one server's sources and read the first of each, in one round trip."""
        begin, extent = after.position if after else BEGIN, self.extent.shared(len(sources))
        sizes = [each.size_command() for each in sources]
        first = [each.read_command(begin, self.count, extent) for each in sources]
        streams = [each.stream for each in sources]
        *replies, clock = self.ask(streams, lambda link: exchange(link, [*sizes, *first, time_command()])) or [None]
        readers: list[Iterator[Item[S]]] = []
        if isinstance(clock, Exception):
            self._note(streams, clock)
        if clock is None or isinstance(clock, Exception):
            return readers
        self.now |= dict.fromkeys((each.name for each in streams), time_of(clock))
        for source, size, found in zip(sources, replies[: len(sizes)], replies[len(sizes) :], strict=False):
            if self._usable(source, size) and self._usable(source, found):
                self.total += source.size(size)
                readers.append(self._rows(source, after, extent, source.part(found, self.count)))
        return readers

    def entries(self, wanted: Sequence[tuple[Pending, Sequence[str]]]) -> dict[str, Iterator[Entry | None]]:
        """Return the entries of one server by (a list that its stream belongs to, entry ids), under the streams' keys.

        None stands for each that isn't there. The first of each stream are read in one round trip, the others as they
        are asked for.
        """
        extent = self.extent.shared(len(wanted))
        commands = [named(source.key, ids, extent) for source, ids in wanted]
        replies = self.ask([source.stream for source, _ in wanted], lambda link: exchange(link, commands)) or []
        return {
            source.key: by_identity(ids, self._asking(source, extent, first))
            for (source, ids), first in zip(wanted, replies, strict=False)
        }

    def _asking(self, source: Pending, extent: Extent, first: Any) -> Callable[[Sequence[str]], Part[Any] | None]:
        """Return a function that asks for entries by their ids; the reply to the first question is here."""
        replies = [first]

        def ask(entry_ids: Sequence[str]) -> Part[Any] | None:
            reply = replies.pop() if replies else self._reply(source, named(source.key, entry_ids, extent))
            return entries_of(reply) if reply is not None and self._usable(source, reply) else None

        return ask

    def _rows(self, source: S, after: Cursor | None, extent: Extent, part: Part[Any]) -> Iterator[Item[S]]:
        asked = self.count
        while True:
            for each in part.found:
                cursor = Cursor(each.position, source.stream.name, source.name)
                if after is None or cursor > after:
                    after = cursor
                    yield Item(cursor, source, each)
            if not part.left:
                return
            position, asked = part.found[-1].position, min(_MOST_AT_ONCE, asked * 2)
            reply = self._reply(source, source.read_command(position, asked, extent, behind=True))
            if reply is None or not self._usable(source, reply):
                return
            part = source.part(reply, asked)

    def _reply(self, source: Source, command: Command) -> Any:
        return self.ask([source.stream], lambda link: exchange(link, [command])[0])

    def _usable(self, source: Source, reply: Any) -> bool:
        if not isinstance(reply, Exception):
            return True
        # A group that isn't there has nothing pending.
        if not str(reply).startswith("NOGROUP"):
            self._note([source.stream], reply)
        return False

    def _note(self, streams: Sequence[StreamConfig], error: Exception) -> None:
        self.problems += [Problem(name, error) for name in dict.fromkeys(stream.name for stream in streams)]
