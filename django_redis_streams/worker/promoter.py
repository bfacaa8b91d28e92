"""Moves due retries and delayed messages to where groups read them; for each stream, one process at a time."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence

from redis.exceptions import ResponseError

from ..conf import StreamConfig
from ..connections import Link
from ..store.redeliver import lease_holder, promote, recorded_groups
from .service import Service
from .tell import logger

__all__ = ["Promoter"]

_INTERVAL = 0.05
# Without the lease, or for the list of groups: this often is enough.
_SELDOM = 1.0


class Promoter(Service):
    """Promotes for the streams of one connection, those for which it holds the lease."""

    def __init__(self, alias: str, stop: threading.Event, streams: Sequence[StreamConfig]) -> None:
        super().__init__(alias, stop)
        self._streams = streams
        self._holder = secrets.token_hex(8)
        self._ask_again = dict.fromkeys((each.name for each in streams), 0.0)
        self._held: set[str] = set()
        self._groups: dict[str, tuple[float, list[str]]] = {}
        self._more = False

    @property
    def interval(self) -> float:
        """What is due is at most about this late; where more are due than one step moves, the next follows at once."""
        return 0.0 if self._more else _INTERVAL

    def step(self, link: Link) -> None:
        """One look at each stream whose lease may be had."""
        self._more = False
        now = time.monotonic()
        due = [stream for stream in self._streams if now >= self._ask_again[stream.name]]
        self.each(due, lambda stream: self._promote(link, stream))

    def _promote(self, link: Link, stream: StreamConfig) -> None:
        # Not before this, unless it goes well.
        self._ask_again[stream.name] = time.monotonic() + _SELDOM
        if not self._may_hold(link, stream):
            return
        promotion = promote(link, stream, self._known_groups(link, stream), self._holder)
        if promotion is None:
            self._held.discard(stream.name)
            return
        self._held.add(stream.name)
        for problem in promotion.problems:
            self._report(stream, problem)
        if promotion.vanished:
            logger.error(
                "%s: %d retries or delayed messages were due whose entry is gone.", stream.name, promotion.vanished,
                extra={"stream": stream.name},
            )  # fmt: skip
        if not promotion.problems:
            self._ask_again[stream.name] = 0.0
            self._more = self._more or promotion.more

    def _may_hold(self, link: Link, stream: StreamConfig) -> bool:
        """Whether this process held the lease when it last looked, or may get it.

        All others look with one GET: the script and the list of groups cost the server four commands.
        """
        return stream.name in self._held or lease_holder(link, stream.keys) in (None, self._holder)

    def _known_groups(self, link: Link, stream: StreamConfig) -> list[str]:
        asked, groups = self._groups.get(stream.name, (0.0, [*stream.groups]))
        if time.monotonic() - asked > _SELDOM:
            try:
                groups = sorted({*recorded_groups(link, stream.keys), *stream.groups})
            except ResponseError as error:
                # For those that are known it goes on.
                self._report(stream, str(error))
            self._groups[stream.name] = time.monotonic(), groups
        return groups

    def _report(self, stream: StreamConfig, problem: str) -> None:
        logger.error("%s: what is due can't be moved: %r", stream.name, problem, extra={"stream": stream.name})
