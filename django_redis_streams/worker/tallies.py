"""What a consumer has done, in numbers that only ever grow: memory that its own thread alone writes to.

No lock and no system call: others read it at any moment, at most a batch behind.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..outcomes import Ack, DeadLetter, Outcome

__all__ = ["COUNTED", "Tally", "TallyReading"]

_DOUBLE: Final = 8

# Messages by what became of them, in the words of the group's totals; and those that were another consumer's before.
COUNTED: Final = ("acknowledged", "skipped", "retried", "dead-lettered", "claimed")
_ACKNOWLEDGED, _SKIPPED, _RETRIED, _DEAD, _CLAIMED = range(len(COUNTED))
_RUNS, _SECONDS, _LONGEST = range(len(COUNTED), len(COUNTED) + 3)
_SIZE: Final = _LONGEST + 1


@dataclass(frozen=True, slots=True)
class TallyReading:
    """What stood there at a moment: counts in the order of COUNTED, how many were run, how many seconds that took."""

    counts: Sequence[int]
    runs: int
    seconds: float


class Tally:
    """The numbers of one consumer."""

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, _SIZE * _DOUBLE)).cast("d")

    def settled(self, outcome: Outcome, count: int) -> None:
        """The server has settled so many messages with outcomes of this kind."""
        if isinstance(outcome, Ack):
            self._numbers[_SKIPPED if outcome.skipped else _ACKNOWLEDGED] += count
        else:
            self._numbers[_DEAD if isinstance(outcome, DeadLetter) else _RETRIED] += count

    def claimed(self, count: int) -> None:
        """So many messages were claimed."""
        self._numbers[_CLAIMED] += count

    def ran(self, durations: Sequence[float]) -> None:
        """These messages were run, and took so many seconds each. Called once a batch."""
        self._numbers[_RUNS] += len(durations)
        self._numbers[_SECONDS] += sum(durations)
        self._numbers[_LONGEST] = max(self._numbers[_LONGEST], *durations)

    def read(self) -> TallyReading:
        """What stands there now."""
        numbers = self._numbers.tolist()
        return TallyReading(list(map(int, numbers[: len(COUNTED)])), int(numbers[_RUNS]), numbers[_SECONDS])

    def take_longest(self) -> float:
        """The longest run since this was last asked, in seconds: one that ends in this very moment may be missed."""
        longest, self._numbers[_LONGEST] = self._numbers[_LONGEST], 0.0
        return longest
