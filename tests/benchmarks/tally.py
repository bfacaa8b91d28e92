"""How many messages were handled, and how fast: measured from outside, by the size of the file of the handlers.

So neither a start-up counts, nor Python's slow first calls: a rate is measured from when a first part was handled
until almost all were, between two moments at which both the time and the count are known.
"""

import fcntl
import os
import time
from collections.abc import Callable
from typing import NamedTuple, Self

from .figures import CannotMeasure
from .work import SIZE

__all__ = ["Tally"]

_LOOK_EACH = 0.002
_STALLED_AFTER = 15.0
_DEADLINE = 60.0


class _Look(NamedTuple):
    at: float
    handled: int


class Tally:
    """A file in memory. Each handled message adds 16 bytes, in any process."""

    def __enter__(self) -> Self:
        self.descriptor = os.memfd_create("benchmark")
        # Without O_APPEND one of two simultaneous writes is lost: files in memory have no lock on their position.
        fcntl.fcntl(self.descriptor, fcntl.F_SETFL, os.O_APPEND)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    @property
    def count(self) -> int:
        """How many messages were handled."""
        return os.fstat(self.descriptor).st_size // SIZE

    def times(self) -> list[int]:
        """Return the times that `work.mark_time` wrote, in order."""
        written = os.pread(self.descriptor, self.count * SIZE, 0)
        return [int.from_bytes(written[at : at + SIZE], "little") for at in range(0, len(written), SIZE)]

    def speed(self, begin: int, end: int, check: Callable[[], None]) -> tuple[int, float]:
        """Return how many messages were handled, and in how many seconds, between about the counts `begin` and `end`.

        `check` raises if the workers have ended. Raises `CannotMeasure` if no more messages are handled.
        """
        self.wait(begin, check)
        first = self._look()
        last = self.wait(end, check)
        if last.at == first.at:
            raise CannotMeasure(f"{end - begin:,} messages were handled too fast to be timed")
        return last.handled - first.handled, last.at - first.at

    def wait(self, count: int, check: Callable[[], None]) -> _Look:
        """Wait until so many were handled; return the last look that saw fewer."""
        began = moved = last = self._look()
        while (now := self._look()).handled < count:
            check()
            if now.handled > moved.handled:
                moved = now
            if now.at - moved.at > _STALLED_AFTER or now.at - began.at > _DEADLINE:
                raise CannotMeasure(
                    f"{now.handled:,} of {count:,} messages were handled in {now.at - began.at:.0f} s, "
                    f"none in the last {now.at - moved.at:.0f} s"
                )
            last = now
            time.sleep(_LOOK_EACH)
        return last

    def _look(self) -> _Look:
        return _Look(time.perf_counter(), self.count)
