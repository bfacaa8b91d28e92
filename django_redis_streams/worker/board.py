"""What the supervisor reads of its processes: memory shared with them, without a lock or a system call.

A process that is killed at any moment leaves nothing locked, and the last figures stay readable.
"""

from __future__ import annotations

import mmap
import struct

__all__ = ["Board"]

_COUNT = struct.Struct("=Q")


class Board:
    """For each process and each of its consumers, how many messages it has settled. One writer a slot."""

    def __init__(self, processes: int, consumers: int) -> None:
        self._consumers = consumers
        self._memory = mmap.mmap(-1, max(1, processes * consumers) * _COUNT.size)

    def add(self, process: int, consumer: int, count: int) -> None:
        """A consumer has settled `count` more."""
        place = self._place(process, consumer)
        _COUNT.pack_into(self._memory, place, _COUNT.unpack_from(self._memory, place)[0] + count)

    def settled(self, process: int) -> int:
        """How many messages a process has settled since it was cleared."""
        places = (self._place(process, each) for each in range(self._consumers))
        return sum(_COUNT.unpack_from(self._memory, place)[0] for place in places)

    def clear(self, process: int) -> None:
        """A new process takes the place."""
        for each in range(self._consumers):
            _COUNT.pack_into(self._memory, self._place(process, each), 0)

    def _place(self, process: int, consumer: int) -> int:
        return (process * self._consumers + consumer) * _COUNT.size
