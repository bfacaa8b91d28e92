"""Upkeep: tells consumers what there is to claim, trims, and removes consumers that are long gone.

Every process does all of it, at moments of its own; each step is safe when several do it at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from ..conf import StreamConfig
from ..connections import Link
from ..store.consumers import retire_dead
from ..store.groups import make_group
from ..store.hold import has_stale
from ..store.membership import Membership
from ..store.trim import trim
from .consumer import Consumer
from .service import Service
from .tell import about, logger

__all__ = ["Maintenance"]

# How often to look for what may be claimed; and at most this share of the time is spent on looking, which
# takes the server long where very much is pending.
_INTERVAL = 0.5
_SHARE = 0.05
_TRIM_EACH = 1.0
_RETIRE_EACH = 60.0
# A consumer of ours reads each second; one of another client may be silent for longer.
_RETIRED_AFTER_MS = 3_600_000


class Maintenance(Service):
    """Looks after the consumers and streams of one connection."""

    def __init__(
        self, alias: str, stop: threading.Event, consumers: Sequence[Consumer], streams: Sequence[StreamConfig]
    ) -> None:
        super().__init__(alias, stop)
        self._consumers = consumers
        self._one_a_group = list({each.membership.place: each for each in consumers}.values())
        self._streams = streams
        self._took = 0.0
        self._trimmed = 0.0
        self._retired = time.monotonic()

    @property
    def interval(self) -> float:
        """Longer where looking takes long."""
        return max(_INTERVAL, self._took / _SHARE)

    def step(self, link: Link) -> None:
        """One round."""
        began = time.monotonic()
        self._look_for_stale(link)
        self._took = time.monotonic() - began
        if began - self._trimmed > _TRIM_EACH:
            self._trimmed = began
            self._trim(link)
        if began - self._retired > _RETIRE_EACH:
            self._retired = began
            self._retire(link)

    def _look_for_stale(self, link: Link) -> None:
        def look(consumer: Consumer) -> None:
            if has_stale(link, consumer.membership, returned_only=not consumer.may_claim):
                for each in self._consumers:
                    if each.membership.place == consumer.membership.place:
                        each.stale.set()

        self.each(self._one_a_group, look)

    def _trim(self, link: Link) -> None:
        for stream in self._streams:
            if stream.maxlen is None and stream.max_age is None:
                continue
            # A declared group that is missing needs all that it was never given: make it, then look.
            for group in stream.groups.values():
                make_group(link, Membership(stream, group, ""), group.start)
            trim(link, stream)

    def _retire(self, link: Link) -> None:
        def retire(consumer: Consumer) -> None:
            place = consumer.membership
            for name in retire_dead(link, place, _RETIRED_AFTER_MS):
                logger.info(
                    "%s:%s: removed the consumer %r, which holds nothing and was silent for an hour.",
                    place.stream.name, place.group.name, name, extra={**about(place), "consumer": name},
                )  # fmt: skip

        self.each(self._one_a_group, retire)
