"""How many messages a process may still begin, of those that `--max-messages` grants it."""

from __future__ import annotations

import itertools
import threading

__all__ = ["Quota"]


class Quota:
    """`most` messages for all threads of a process, or any number; when they are settled, `stop` is set."""

    def __init__(self, most: int | None, stop: threading.Event) -> None:
        self._most = most
        self._stop = stop
        # next() of a count is one step for all threads.
        self._begun = itertools.count(1)
        self._settled = 0
        self._lock = threading.Lock()

    def begin(self) -> bool:
        """Asked before each message: whether one more may be begun."""
        return self._most is None or next(self._begun) <= self._most

    def settled(self, count: int) -> None:
        """So many were settled; the last of them ends the process at once, not the next that comes."""
        if self._most is None:
            return
        with self._lock:
            self._settled += count
        if self._settled >= self._most:
            self._stop.set()
