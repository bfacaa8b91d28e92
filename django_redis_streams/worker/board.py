"""What the supervisor reads of a process: memory shared with it, without a lock or a system call.

A process that is killed at any moment leaves nothing locked, and what it wrote last stays readable: which
messages it was running, by when each must have ended, and how many it has settled.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence

from ..conf import GroupConfig, StreamConfig
from ..store.membership import Membership

__all__ = ["Board", "Slots"]

_DOUBLE = 8
# Two numbers of up to 20 digits, and what parts them from each other and from the key.
_ENTRY_ID = 42


class Slots:
    """What one consumer runs: rows, each of an entry, in memory shared with the supervisor. One writer.

    A row whose deadline isn't 0 runs. `deadlines` is written to directly, right before a handler is called: by
    when it must have ended on the monotonic clock, which all processes share (`inf` for never); and 0 after it.
    """

    def __init__(self, stream: StreamConfig, group: GroupConfig) -> None:
        self.rows = rows = group.batch_size
        self._width = max(len(key.encode()) for key in Membership(stream, group, "").sources) + _ENTRY_ID
        self._memory = mmap.mmap(-1, rows * (_DOUBLE + self._width) + _DOUBLE)
        doubles = memoryview(self._memory)[: (rows + 1) * _DOUBLE].cast("d")
        self.deadlines = doubles[:rows]
        self._settled = doubles[rows:]
        self._names = memoryview(self._memory)[(rows + 1) * _DOUBLE :]

    def name(self, tokens: Sequence[str], first: int = 0) -> None:
        """Say which entries the rows from `first` on stand for. None of these rows may be running."""
        names = b"".join([token.encode().ljust(self._width) for token in tokens])
        self._names[first * self._width : first * self._width + len(names)] = names

    def running(self) -> list[tuple[str, float]]:
        """For the supervisor: the token and the deadline of each row that runs."""
        return [(self._named(row), deadline) for row, deadline in enumerate(self.deadlines) if deadline]

    def settle(self, count: int) -> None:
        """The consumer has settled `count` more messages."""
        self._settled[0] += count

    @property
    def settled(self) -> int:
        """How many messages the consumer has settled."""
        return int(self._settled[0])

    def _named(self, row: int) -> str:
        return bytes(self._names[row * self._width : (row + 1) * self._width]).rstrip(b" ").decode()


class Board:
    """The slots of all consumers of one process, in their order; made before the process is forked."""

    def __init__(self, places: Iterable[tuple[StreamConfig, GroupConfig]]) -> None:
        self.slots = [Slots(*each) for each in places]
        self._marks = mmap.mmap(-1, 1)

    @property
    def left_full(self) -> bool:
        """Whether the process has ended for its memory's sake, and held nothing any more."""
        return self._marks[0] == 1

    def leave_full(self) -> None:
        """The process has run all that it began, settled it, handed back the rest, and ends for its memory's sake."""
        self._marks[0] = 1

    @property
    def settled(self) -> int:
        """How many messages the process has settled."""
        return sum(each.settled for each in self.slots)
