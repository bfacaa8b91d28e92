"""What the supervisor reads of a process: memory shared with it, without a lock or a system call.

A process that is killed at any moment leaves nothing locked, and what it wrote last stays readable: which
messages it was running, by when each must have ended, and how many it has settled.
"""

from __future__ import annotations

import mmap
import time
from array import array
from collections.abc import Iterable, Sequence

from ..conf import GroupConfig, StreamConfig
from ..keys import split_token, token
from ..store.delivery import Delivery
from ..store.membership import Membership

__all__ = ["Board", "Slots"]

_DOUBLE = 8
# Bytes of a sentence, which may be of several settings.
_SENTENCE = 8192
# Two numbers of up to 20 digits, and what parts them from each other, from the key, and from the next line.
_ENTRY_ID = 43


class Slots:
    """What one consumer runs: rows, each of an entry, in memory shared with the supervisor. One writer.

    A row whose deadline isn't 0 runs. `deadlines` is written to directly, right before a handler is called: by
    when it must have ended on the monotonic clock, which all processes share (`inf` for never); and 0 after it.
    The first `rows` are for what runs one after another, `coroutine_rows` for coroutines.
    """

    def __init__(self, stream: StreamConfig, group: GroupConfig) -> None:
        self.rows = group.batch_size
        rows = self.rows + max(group.batch_size, group.async_concurrency)
        self.coroutine_rows = range(self.rows, rows)
        self._width = max(len(key.encode()) for key in Membership(stream, group, "").sources) + _ENTRY_ID
        self._memory = mmap.mmap(-1, rows * (_DOUBLE + self._width) + 2 * _DOUBLE)
        doubles = memoryview(self._memory)[: (rows + 2) * _DOUBLE].cast("d")
        self.deadlines = doubles[:rows]
        self._settled = doubles[rows : rows + 1]
        self._left = doubles[rows + 1 :]
        # Of the first rows a line each; of the others so many bytes each, since they are named one by one.
        self._lines = memoryview(self._memory)[(rows + 2) * _DOUBLE :][: self.rows * self._width]
        self._names = memoryview(self._memory)[(rows + 2) * _DOUBLE :][self.rows * self._width :]

    def name_batch(self, deliveries: Sequence[Delivery]) -> None:
        """Say which entries the first rows stand for. None of them may be running."""
        key = deliveries[0].key
        if [each.key for each in deliveries].count(key) == len(deliveries):  # as mostly: then it stands there once
            lines = f"{key}/" + "\0".join([each.entry_id for each in deliveries])
        else:
            lines = "\0".join([each.token for each in deliveries])
        text = f"{lines}\0".encode()
        self._lines[: len(text)] = text

    def name_coroutines(self, deliveries: Sequence[Delivery], first: int) -> None:
        """Say which entries the rows of coroutines from `first` on stand for. None of these rows may be running."""
        names = b"".join([each.token.encode().ljust(self._width) for each in deliveries])
        begin = (first - self.rows) * self._width
        self._names[begin : begin + len(names)] = names

    def run(self, rows: Sequence[int], deadline: float) -> None:
        """These rows, which ascend, run until the deadline; 0 where they have ended."""
        first, count = rows[0], len(rows)
        if rows[-1] - first == count - 1:
            self.deadlines[first : first + count] = array("d", (deadline,)) * count
        else:
            for row in rows:
                self.deadlines[row] = deadline

    def running(self) -> list[tuple[str, float]]:
        """For the supervisor: the token and the deadline of each row that runs."""
        return [(self._named(row), deadline) for row, deadline in enumerate(self.deadlines) if deadline]

    def settle(self, count: int) -> None:
        """The consumer has settled `count` more messages."""
        self._settled[0] += count

    def leave(self) -> None:
        """The consumer has ended: it has settled what it ran and handed back the rest, or never will."""
        self._left[0] = 1

    @property
    def left(self) -> bool:
        """Whether the consumer has ended."""
        return self._left[0] == 1

    @property
    def settled(self) -> int:
        """How many messages the consumer has settled."""
        return int(self._settled[0])

    def _named(self, row: int) -> str:
        if row < self.rows:
            lines = bytes(self._lines).split(b"\0")
            name = lines[row].decode()
            return name if "/" in name else token(split_token(lines[0].decode())[0], name)
        begin = (row - self.rows) * self._width
        return bytes(self._names[begin : begin + self._width]).rstrip(b" ").decode()


class Board:
    """The slots of all consumers of one process, in their order; made before the process is forked."""

    def __init__(self, places: Iterable[tuple[StreamConfig, GroupConfig]]) -> None:
        self.slots = [Slots(*each) for each in places]
        self._marks = mmap.mmap(-1, 4)
        self._sentence = mmap.mmap(-1, _SENTENCE)
        self._memory = mmap.mmap(-1, _DOUBLE)
        self._ticked = memoryview(self._memory).cast("d")
        self.tick()

    def tick(self) -> None:
        """The process gets on, or is about to begin: its main thread says so several times a second."""
        self._ticked[0] = time.monotonic()

    @property
    def silent(self) -> float:
        """For how many seconds the process hasn't ticked: a handler may hold the GIL."""
        return time.monotonic() - self._ticked[0]

    def end_well(self) -> None:
        """All consumers have settled what they ran and handed back the rest: the process ends."""
        self._marks[2] = 1

    @property
    def ended_well(self) -> bool:
        """Whether the process came to its end; a handler can end it with exit code 0 too."""
        return self._marks[2] == 1

    def give_up(self, why: str) -> None:
        """The process ends, and another would end alike: what is configured can't work."""
        text = why.encode("utf-8", "backslashreplace")[: _SENTENCE - 1]
        self._sentence[: len(text) + 1] = text + b"\0"

    @property
    def given_up(self) -> str:
        """Why the process has given up; nothing where it hasn't."""
        return self._sentence[:].partition(b"\0")[0].decode("utf-8", "ignore")

    def see_suspects(self) -> None:
        """The process has seen suspects on the server."""
        self._marks[1] = 1

    def forget_suspects(self) -> None:
        """What was seen is looked after; what is left will be seen again."""
        self._marks[1] = 0

    @property
    def sees_suspects(self) -> bool:
        """Whether there are suspects on the server that a quarantine should look after."""
        return self._marks[1] == 1

    @property
    def left_full(self) -> bool:
        """Whether the process has ended for its memory's sake, and held nothing any more."""
        return self._marks[0] == 1

    def leave_full(self) -> None:
        """The process has run all that it began, settled it, handed back the rest, and ends for its memory's sake."""
        self._marks[0] = 1

    def leave_deleted(self) -> None:
        """Somebody has deleted all groups of the process on purpose: it ends, and none takes its place."""
        self._marks[3] = 1

    @property
    def left_deleted(self) -> bool:
        """Whether the process has ended because all of its groups were deleted."""
        return self._marks[3] == 1

    @property
    def settled(self) -> int:
        """How many messages the process has settled."""
        return sum(each.settled for each in self.slots)
