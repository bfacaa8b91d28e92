"""Upkeep: tells consumers what there is to claim, trims, and removes consumers that are long gone.

Every process does all of it, at moments of its own; each step is safe when several do it at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from ...conf import StreamConfig
from ...connections import Link
from ...store.consume.asking import ask, together
from ...store.consume.clock import TOLERATED_MS, note_jump, seconds_ahead, server_time
from ..consumer.batch_runner import BatchRunner
from ..log.lines import logger
from ..shared.scoreboard import Scoreboard
from ..system.clock import ServerClock
from ..timing import Timing
from .claimable import ClaimableLooks, GroupLook
from .refusals import Refusals
from .service import Service
from .upkeep import StreamUpkeep

__all__ = ["Maintenance"]


class Maintenance(Service):
    """Looks after the consumers and streams of one connection; `groups` are the looks at each of their groups."""

    def __init__(
        self,
        alias: str,
        stop: threading.Event,
        consumers: Sequence[BatchRunner],
        streams: Sequence[StreamConfig],
        timing: Timing,
        *,
        scoreboard: Scoreboard | None = None,
    ) -> None:
        super().__init__(alias, stop, timing)
        self._consumers = consumers
        self._streams = streams
        # Of each stream: in a cluster it may move to a node whose clock shows something else.
        self._clocks = {each.name: ServerClock() for each in streams}
        for each in consumers:
            each.claiming.clock = self._clocks[each.membership.stream.name]
        self.groups = [GroupLook(alike, timing) for alike in _by_group(consumers)]
        self._looks = ClaimableLooks(
            self.groups, timing, look_at_clock=self._look_at_clock,
            see_suspects=(lambda: None) if scoreboard is None else scoreboard.see_suspects, refused=self.log_refused,
        )  # fmt: skip
        self._upkeep = [
            StreamUpkeep(stream, [each for each in self.groups if each.membership.stream == stream], stop, timing)
            for stream in streams
        ]
        # When to look at the clock again, and whether a chore is due, on the monotonic clock; and how often.
        self._clock_due = self._chores_due = 0.0
        self._clock_every = min([timing.look_at_clock, *(each.membership.group.claim_idle / 2 for each in consumers)])
        self._chores_every = min(timing.watch, timing.trim, timing.count_others, timing.retire)

    @property
    def interval(self) -> float:
        """Short, so that what it hears of is looked at soon. Most steps find that nothing is due, and ask nothing."""
        return min(self._timing.look_heard, max(self._timing.between_looks, self._looks.due_in))

    def hear(self, stream: str, group: str) -> None:
        """Look for what may be claimed in a group within about 0.2 seconds; for any thread.

        How soon exactly is up to chance: a hundred processes that hear of it don't ask at the same moment.
        """
        self._looks.hear(stream, group)

    def connected(self) -> None:
        """Doubt the connections of all consumers, because this one is new, and look at the clock and all groups.

        Others may have lost theirs too: what seems idle may be a heartbeat that isn't back yet.
        """
        for each in self._consumers:
            each.connection.doubt()
        self._clock_due = 0.0
        self._looks.look_anew()

    def step(self, link: Link) -> None:
        """Do what is due, once."""
        refusals, now = Refusals(), time.monotonic()
        if now >= self._clock_due:
            with refusals.kept():
                self._look_at_clock(link)
        with refusals.kept():
            self._looks.step(link)
        if now >= self._chores_due:
            self._chores_due = now + self._chores_every
            self._do_chores(link, now, refusals)
        refusals.raise_first()

    def _do_chores(self, link: Link, now: float, refusals: Refusals) -> None:
        """Do the chores that are due, of all streams side by side: each round trip is one for all of them."""
        due = [(each, self._clocks[each.stream.name].at_the_latest() or 0) for each in self._upkeep if each.is_due(now)]
        ask(link, together([chore for each, ms in due for chore in each.due_chores(link, ms, refusals)]))

    def _look_at_clock(self, link: Link) -> None:
        """Note a jump. After one ahead all seems idle for longer: owners must be able to renew before others claim."""
        self._clock_due = time.monotonic() + self._clock_every
        refusals = Refusals()
        for part, streams in link.by_node(self._streams, lambda stream: stream.keys.main):
            with refusals.kept():
                self._look_at_clock_of(part, streams)
        refusals.raise_first()

    def _look_at_clock_of(self, link: Link, streams: Sequence[StreamConfig]) -> None:
        """Do so for the streams of one server."""
        asked, asked_at = time.monotonic(), time.time()
        shown = server_time(link)
        ahead, answered = seconds_ahead(shown, asked_at, time.time()), time.monotonic()
        jumps = {each.name: self._clocks[each.name].saw(shown, asked, answered) for each in streams}
        consumers = [each for each in self._consumers if each.membership.stream.name in jumps]
        for each in consumers:
            each.counters.saw_clock(ahead)
        # Streams of one server that have always been there see the same.
        jump = max(jumps.values(), key=abs, default=0)
        if abs(jump) <= TOLERATED_MS:
            return
        jumped = [each for each in streams if abs(jumps[each.name]) > TOLERATED_MS]
        for each in consumers:
            each.connection.doubt()
        logger.warning(
            "The clock of the server of connection %r %s by %.1f s%s",
            self.alias, "jumped ahead" if jump > 0 else "went back", abs(jump) / 1000,
            ", or this host stood still. Idle messages aren't claimed for half of CLAIM_IDLE." if jump > 0 else ".",
            extra={"connection": self.alias},
        )  # fmt: skip

        def note(stream: StreamConfig) -> None:
            note_jump(link, stream.keys, jumps[stream.name])

        self.each(jumped, note)


def _by_group(consumers: Sequence[BatchRunner]) -> Sequence[Sequence[BatchRunner]]:
    """Return the consumers of each group."""
    found: dict[str, list[BatchRunner]] = {}
    for each in consumers:
        found.setdefault(each.membership.label, []).append(each)
    return list(found.values())
