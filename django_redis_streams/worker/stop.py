"""When a worker's process is to stop: at a signal, by itself, or when its `--max-messages` are settled."""

from __future__ import annotations

import itertools
import threading

__all__ = ["Quota", "Stop"]


class Stop(threading.Event):
    """The event that tells a process to stop: set once, looked at by all its threads."""

    # The same as `is_set()`, but cheap enough to look at before each of hundreds of thousands of messages a second.
    requested = False

    def set(self) -> None:
        """Ask the process to stop."""
        self.requested = True
        super().set()


class Quota:
    """How many messages the threads of a process may begin; when these are settled, `stop` is set."""

    def __init__(self, most: int, stop: Stop) -> None:
        self._most = most
        self._stop = stop
        # next() of a count is one step for all threads.
        self._begun = itertools.count(1)
        self._settled = 0
        self._lock = threading.Lock()

    def try_acquire(self) -> bool:
        """Take one of the messages that are left; False when there is none. Called before each message."""
        return next(self._begun) <= self._most

    def settled(self, count: int) -> None:
        """Count messages that were settled. The last one stops the process at once, not the next that comes."""
        with self._lock:
            self._settled += count
        if self._settled >= self._most:
            self._stop.set()
