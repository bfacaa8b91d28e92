"""How many entries to read at once: about a tenth of a second of work.

So a slow handler doesn't hoard what another consumer could run now, and a fast one doesn't pay a round trip
a message. The seconds of a batch handler's call don't count: fewer messages might take as long.
"""

from __future__ import annotations

__all__ = ["BatchSize"]

_FIRST = 10
# In seconds: a batch that takes less is over before two replies could have come.
_FAST = 0.02
# How much the newest batch says about the next.
_WEIGHT = 0.5


class BatchSize:
    """The count of the next read, at most `most`: as many as run in `seconds`."""

    def __init__(self, most: int, *, seconds: float) -> None:
        self._seconds = seconds
        self._most = most
        self._seconds_each: float | None = None
        self._fast = False

    @property
    def count(self) -> int:
        """How many to read now."""
        if self._seconds_each is None:
            return min(_FIRST, self._most)
        return max(1, min(self._most, int(self._seconds / max(self._seconds_each, 1e-9))))

    @property
    def fast(self) -> bool:
        """Whether the last batch ran so fast that waiting for the next would be most of the time."""
        return self._fast

    def ran(self, count: int, seconds: float, seconds_of_batches: float = 0.0) -> None:
        """Note that `count` messages ran one by one in `seconds`, and batches, in calls of their own, beside them."""
        self._fast = seconds + seconds_of_batches < _FAST
        each = seconds / count if count else 0.0
        known = self._seconds_each
        self._seconds_each = each if known is None else known + _WEIGHT * (each - known)
