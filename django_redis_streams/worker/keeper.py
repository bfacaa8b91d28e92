"""The heartbeat: renews what this process' consumers hold, while their handlers run."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..connections import Link
from .consumer import Consumer
from .service import Service

__all__ = ["Keeper"]


class Keeper(Service):
    """Renews for the consumers of one connection, each third of the shortest CLAIM_IDLE."""

    def __init__(self, alias: str, stop: threading.Event, consumers: Sequence[Consumer]) -> None:
        shortest = min(each.membership.group.claim_idle for each in consumers)
        super().__init__(alias, stop, longest_wait=min(5.0, shortest / 6))
        self._consumers = consumers
        self._interval = shortest / 3

    @property
    def interval(self) -> float:
        """Two beats may be missed before anything is claimed."""
        return self._interval

    def step(self, link: Link) -> None:
        """One beat. It never waits for a consumer: it looks at what each holds, and asks the server."""
        self.each(self._consumers, lambda consumer: consumer.renew(link))
