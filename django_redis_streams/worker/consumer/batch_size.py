"""How many entries to read at once: about a tenth of a second of work.

So a slow handler doesn't hoard what another consumer could run now, and a fast one doesn't pay a round trip
a message. How long the call of a batch handler takes tells nothing of that: fewer messages might take as long.
"""

from __future__ import annotations

__all__ = ["BatchSize"]

_FIRST = 10
# A batch below this is over before a reply could have been waited for twice.
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
        """So many messages were run, each by itself, in so long; and batches beside them, in calls of their own."""
        self._fast = seconds + seconds_of_batches < _FAST
        each = seconds / count if count else 0.0
        known = self._seconds_each
        self._seconds_each = each if known is None else known + _WEIGHT * (each - known)
