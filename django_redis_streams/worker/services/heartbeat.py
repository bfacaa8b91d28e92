"""The heartbeat: renews what this process' consumers hold, and settles what waits, while their handlers run."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from ...connections import Link
from ..consumer.batch_runner import BatchRunner
from ..timing import Timing
from .service import Service

__all__ = ["Heartbeat"]


class Heartbeat(Service):
    """For the consumers of one connection: flushes each 50 ms, and renews each third of the shortest CLAIM_IDLE.

    It never waits for a consumer: it looks at what each holds, and asks the server.
    """

    def __init__(self, alias: str, stop: threading.Event, consumers: Sequence[BatchRunner], timing: Timing) -> None:
        shortest = min(each.membership.group.claim_idle for each in consumers)
        super().__init__(alias, stop, timing, longest_wait=min(5.0, shortest / 6))
        self._consumers = consumers
        # Two beats may be missed before anything is claimed.
        self._beat = shortest / 3
        self._beat_at = 0.0

    @property
    def interval(self) -> float:
        """In seconds."""
        return min(self._timing.flush, self._beat)

    def step(self, link: Link) -> None:
        """Flush, and renew where it is time to."""
        self.each(self._consumers, lambda consumer: consumer.flush(link))
        now = time.monotonic()
        if now >= self._beat_at:
            self.each(self._consumers, lambda consumer: consumer.renew(link))
            self._beat_at = now + self._beat
