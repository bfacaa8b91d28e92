"""How long to wait before the next try: doubled each time, with jitter, up to a limit."""

from __future__ import annotations

import random
import time

__all__ = ["Backoff"]


class Backoff:
    """Seconds between tries, from `least` to `most`."""

    def __init__(self, *, least: float, most: float) -> None:
        self._least, self._most = least, most
        self.reset()

    def reset(self) -> None:
        """It went well: the next failure waits the least again."""
        self._next = self._least
        self._until = 0.0

    def more(self) -> float:
        """It failed: how many seconds to wait now."""
        wait = self._next * random.uniform(0.75, 1.25)  # noqa: S311  jitter, not a secret
        self._next = min(self._most, self._next * 2)
        self._until = time.monotonic() + wait
        return wait

    @property
    def left(self) -> float:
        """How many seconds of the wait are left."""
        return max(0.0, self._until - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether the wait is over."""
        return not self.left
