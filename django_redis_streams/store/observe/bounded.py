"""Reading entries within a bound of bytes: one command looks at about 4 MiB, and at one entry at least.

Bodies may be large, and a list may be long. So no command replies with more than it is allowed to, and whoever needs
no bodies is sent none: only what says which message an entry holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from ...wire import IDENTIFYING, Fields
from ..scripts import Command, script

__all__ = [
    "BODIES", "BYTES_AT_ONCE", "HEADS", "Entry", "Extent", "Part", "by_identity", "entries_of", "in_order", "named",
]  # fmt: skip

BYTES_AT_ONCE: Final = 4 * 1024 * 1024
# Where many lists are read side by side, each gets so much at least.
_LEAST_SHARE: Final = 64 * 1024

T = TypeVar("T")


class Extent(NamedTuple):
    """How much one command reads: whole `bodies`, or only the fields that identify a message; about `most_bytes`."""

    bodies: bool
    most_bytes: int = BYTES_AT_ONCE

    @property
    def words(self) -> list[str | int]:
        """The extent as arguments of a script."""
        names = () if self.bodies else IDENTIFYING
        return [self.most_bytes, len(names), *names]

    def shared(self, readers: int) -> Extent:
        """Return the extent of one of so many readers, each of which holds what it has read."""
        return self._replace(most_bytes=max(_LEAST_SHARE, self.most_bytes // max(1, readers)))


BODIES: Final = Extent(bodies=True)
HEADS: Final = Extent(bodies=False)


class Entry(NamedTuple):
    """An entry of a stream; `size` is how many bytes all its fields and values have, also where values are empty."""

    entry_id: str
    size: int
    fields: Fields


class Part(NamedTuple, Generic[T]):
    """What one command has found, and what is `left`: 1 where there may be more, or how many identities weren't asked.

    Where it was asked for identities, None stands in the place of each that isn't there.
    """

    left: int
    found: Sequence[T]


def in_order(key: str, begin: str, end: str, count: int, extent: Extent, *, newest_first: bool = False) -> Command:
    """Ask for the next `count` entries from the id `begin` on to `end`, each as XRANGE takes it.

    With `newest_first` the reading goes back, from the higher id to the lower one.
    """
    command = "XREVRANGE" if newest_first else "XRANGE"
    return script("entries")([key], command, *extent.words, begin, end, count)


def named(key: str, entry_ids: Sequence[str], extent: Extent) -> Command:
    """Ask for the entries with these ids."""
    return script("entries")([key], "ids", *extent.words, *entry_ids)


def entries_of(reply: Any) -> Part[Any]:
    """Return the entries that a reply to `in_order` or `named` holds."""
    left, *found = reply
    return Part(left, [each and Entry(*each) for each in found])


def by_identity(identities: Sequence[str], ask: Callable[[Sequence[str]], Part[T] | None]) -> Iterator[T]:
    """Yield what `ask` finds for each of these, asked for as it is needed: what one command returns is held, no more.

    It ends where `ask` returns None.
    """
    while identities:
        part = ask(identities)
        if part is None:
            return
        yield from part.found
        identities = identities[len(identities) - part.left :] if part.left else ()
