"""The end of a drain: a process ends when nothing is left to do in any group that it serves, at one moment.

None of its consumers leaves before that: another group's handler may publish for its group, and a retry may come due.
Each process finds its end by itself. The last one has seen that nothing is left anywhere, and until then had a
consumer for each group.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...connections import Link
from ...store.consume.drained import Standstill, standstill
from ..consumer.batch_runner import BatchRunner
from ..timing import Timing
from .service import Service

if TYPE_CHECKING:
    from .relay import OutboxRelay

__all__ = ["Drain", "Draining"]


@dataclass(frozen=True, slots=True)
class _Still:
    """Nothing was left between two looks, at any moment from `since` to `until`: both found the same `standstill`."""

    standstill: Standstill
    since: float
    until: float


class Drain:
    """What the looks at each connection have found. When all agree on a moment, it calls `end`. For any thread."""

    def __init__(self, aliases: Iterable[str], end: Callable[[], object]) -> None:
        self._end = end
        self._lock = threading.Lock()
        self._still: dict[str, _Still | None] = dict.fromkeys(aliases)

    def looked(self, alias: str, found: Standstill | None, began: float, ended: float) -> bool:
        """Note what a look found in a connection's groups, and return whether that ends the drain.

        The look lasted from `began` to `ended`.
        """
        with self._lock:
            before = self._still[alias]
            if found is None:
                self._still[alias] = None
            elif before is None or before.standstill != found:
                self._still[alias] = _Still(found, since=ended, until=began)
            else:
                self._still[alias] = _Still(found, since=before.since, until=began)
            known = [each for each in self._still.values() if each is not None]
            done = len(known) == len(self._still) and max(each.since for each in known) <= min(
                each.until for each in known
            )
        if done:
            self._end()
        return done


class Draining(Service):
    """Looks at the groups of one connection until the drain has ended; `everybody` are all consumers of the process.

    `relays` are those of the process that relay the outbox to this connection: what they send is to be handled.
    """

    def __init__(
        self,
        alias: str,
        stop: threading.Event,
        everybody: Sequence[BatchRunner],
        drain: Drain,
        timing: Timing,
        *,
        relays: Sequence[OutboxRelay] = (),
    ) -> None:
        super().__init__(alias, stop, timing)
        self._everybody = everybody
        self._relays = relays
        self._consumers = [each for each in everybody if each.membership.stream.connection == alias]
        self._one_a_group = list({each.membership.label: each.membership for each in self._consumers}.values())
        self._drain = drain

    @property
    def interval(self) -> float:
        """In seconds. A look costs the server little, and is done only while nothing else is."""
        return self._timing.look_drained

    def step(self, link: Link) -> None:
        """Look once, if no consumer has anything in hand, and no relay anything to send.

        Even a run of a paused group may publish for another.
        """
        began = time.monotonic()
        rest = all(each.rests for each in self._everybody) and all(each.rests for each in self._relays)
        found = standstill(link, self._one_a_group) if rest else None
        if self._drain.looked(self.alias, found, began, time.monotonic()):
            for each in self._consumers:
                each.connection.wake(link)
