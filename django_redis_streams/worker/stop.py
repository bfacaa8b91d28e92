"""That a worker is to stop: set once, by a signal or by itself, and looked at by all its threads."""

from __future__ import annotations

import threading

__all__ = ["Stop"]


class Stop(threading.Event):
    """`asked` is what `is_set()` says, for who looks before each of hundreds of thousands of messages a second."""

    asked = False

    def set(self) -> None:
        """The worker is to stop."""
        self.asked = True
        super().set()
