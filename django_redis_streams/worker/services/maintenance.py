"""Upkeep: tells consumers what there is to claim, trims, and removes consumers that are long gone.

Every process does all of it, at moments of its own; each step is safe when several do it at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...connections import Link
from ...inspection.books import left_in_lanes
from ...store.consume.books import watch
from ...store.consume.clock import TOLERATED_MS, note_jump, seconds_ahead, server_time
from ...store.consume.consumers import retire_dead
from ...store.consume.groups import make_group
from ...store.consume.membership import Membership
from ...store.consume.ownership import has_stale
from ...store.consume.presence import known_consumers
from ...store.consume.suspects import count_suspects
from ...store.consume.trim import trim
from ...store.replies import group_is_gone
from ..consumer.batch_runner import BatchRunner
from ..log.lines import about, log_done_by_others, logger
from ..shared.scoreboard import Scoreboard
from ..system.clock import ServerClock
from ..timing import Timing
from .service import Service

__all__ = ["Maintenance"]

# With more than a few processes of a group, each looks less often for what may be claimed: a hundred idle processes
# would keep the server busy. But each looks at least once in a quarter of CLAIM_IDLE, as all others may be busy. And
# looking takes at most this share of the time, as it takes the server long if very much is pending.
_FEW = 4
_OF_CLAIM_IDLE = 0.25
_SHARE = 0.05


class Maintenance(Service):
    """Looks after the consumers and streams of one connection."""

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
        self._one_a_group = list({each.membership.label: each for each in consumers}.values())
        self._trimmed_streams = [each for each in streams if each.maxlen is not None or each.max_age is not None]
        self._streams = streams
        self._scoreboard = scoreboard
        self._clock = ServerClock()
        for each in consumers:
            each.claiming.clock = self._clock
        self._took = 0.0
        self._usual = timing.look_stale
        self._counted = -timing.count_others
        self._watched = time.monotonic()
        self._left = -timing.look_at_unread_lanes
        self._trimmed = 0.0
        self._retired = time.monotonic()

    @property
    def interval(self) -> float:
        """Longer if looking takes long or others look, too; shorter if a consumer may soon claim for the first time."""
        soon = min((left for each in self._one_a_group if (left := each.claiming.claims_in) > 0), default=inf)
        least = self._timing.between_looks
        return max(least, self._took / _SHARE, min(self._usual, soon + least))

    def step(self, link: Link) -> None:
        """Do what is due, once."""
        self.each(self._due(), lambda job: job(link))

    def connected(self) -> None:
        """Doubt the connections of all consumers, because this one is new.

        Others may have lost theirs too: what seems idle may be a heartbeat that isn't back yet.
        """
        for each in self._consumers:
            each.connection.doubt()

    def _due(self) -> Iterator[Callable[[Link], None]]:
        yield self._look_at_clock
        yield self._look_for_stale
        now, timing = time.monotonic(), self._timing
        if now - self._watched > timing.watch:
            self._watched = now
            yield lambda link: self.each(self._groups_left, lambda consumer: self._watch(link, consumer.membership))
        if now - self._counted > timing.count_others:
            self._counted = now
            yield self._count_others
        if now - self._trimmed > timing.trim:
            self._trimmed = now
            yield lambda link: self.each(self._trimmed_streams, lambda stream: self._trim(link, stream))
        if now - self._left > timing.look_at_unread_lanes:
            self._left = now
            yield lambda link: self.each(self._streams, lambda stream: self._log_unread_lanes(link, stream))
        if now - self._retired > timing.retire:
            self._retired = now
            yield lambda link: self.each(self._groups_left, lambda consumer: self._retire(link, consumer.membership))

    def _look_at_clock(self, link: Link) -> None:
        """Note a jump. After one ahead all seems idle for longer: owners must be able to renew before others claim."""
        asked, asked_at = time.monotonic(), time.time()
        shown = server_time(link)
        ahead = seconds_ahead(shown, asked_at, time.time())
        for each in self._consumers:
            each.counters.saw_clock(ahead)
        jump = self._clock.saw(shown, asked, time.monotonic())
        if abs(jump) <= TOLERATED_MS:
            return
        for each in self._consumers:
            each.connection.doubt()
        logger.warning(
            "The clock of the server of connection %r %s by %.1f s%s",
            self._alias, "jumped ahead" if jump > 0 else "went back", abs(jump) / 1000,
            ", or this host stood still. Idle messages aren't claimed for half of CLAIM_IDLE." if jump > 0 else ".",
            extra={"connection": self._alias},
        )  # fmt: skip

        def note(stream: StreamConfig) -> None:
            note_jump(link, stream.keys, jump)

        self.each(self._streams, note)

    def _look_for_stale(self, link: Link) -> None:
        began = time.monotonic()
        self.each(self._groups_left, lambda consumer: self._look_in(link, consumer))
        self.each(self._groups_left, lambda consumer: self._look_for_suspects(link, consumer))
        self._took = time.monotonic() - began

    @property
    def _groups_left(self) -> Sequence[BatchRunner]:
        """One consumer of each group, except of groups that somebody has deleted."""
        return [each for each in self._one_a_group if each.connection.deleted is None]

    def _count_others(self, link: Link) -> None:
        """Count the processes of each group: the more there are, the less often this one looks."""
        self._usual = min(self._usual_of(link, each) for each in self._one_a_group)

    def _usual_of(self, link: Link, consumer: BatchRunner) -> float:
        membership = consumer.membership
        own = sum(each.membership.label == membership.label for each in self._consumers)
        # Those lately dead count, too: a few make no difference.
        processes = known_consumers(link, membership.keys, membership.group.name) / own
        usual, at_least = self._timing.look_stale, self._timing.look_stale_at_least
        most = max(usual, min(at_least, membership.group.claim_idle * _OF_CLAIM_IDLE))
        return min(most, usual * max(1, processes / _FEW))

    def _look_for_suspects(self, link: Link, consumer: BatchRunner) -> None:
        if self._scoreboard is not None and count_suspects(link, consumer.membership):
            self._scoreboard.see_suspects()

    def _look_in(self, link: Link, consumer: BatchRunner) -> None:
        alike = [each for each in self._consumers if each.membership.label == consumer.membership.label]
        try:
            stale = has_stale(link, consumer.membership, returned_only=not consumer.claiming.may_claim)
        except ResponseError as error:
            if not group_is_gone(error):
                raise
            # A consumer that runs handlers would otherwise learn only after them that its group was deleted.
            for each in alike:
                each.connection.make_group(link)
            return
        for each in alike:
            if stale and not each.claiming.stale.is_set():
                each.claiming.stale.set()
                each.connection.wake(link)

    def _trim(self, link: Link, stream: StreamConfig) -> None:
        # A declared group that is missing needs all that it was never given, so it is made before the trim. A group
        # that this process consumes is made by its consumer, which knows where it is to begin again, and reports it.
        consumers = {each.membership.group: each for each in self._one_a_group if each.membership.stream == stream}
        for group in stream.groups.values():
            if group in consumers:
                consumers[group].connection.make_group(link)
            else:
                make_group(link, Membership(stream, group, ""), group.start, anew=False)
        while trim(link, stream) and not self._stop.is_set():
            pass

    def _log_unread_lanes(self, link: Link, stream: StreamConfig) -> None:
        for lane, group, count in left_in_lanes(link, stream):
            logger.warning(
                "%s:%s: up to %d messages wait in lane %r, which no consumer reads. Put it back into LANES until they "
                "are handled.",
                stream.name, group, count, lane, extra={"stream": stream.name, "group": group},
            )  # fmt: skip

    def _watch(self, link: Link, membership: Membership) -> None:
        found = watch(link, membership.stream, [membership.group.name])[membership.group.name]
        log_done_by_others(membership, found)

    def _retire(self, link: Link, membership: Membership) -> None:
        for name in retire_dead(link, membership, round(self._timing.retire_after * 1_000)):
            logger.info(
                "Removed consumer %r of %s, which held nothing and was silent for an hour.",
                name, membership.label, extra={**about(membership), "consumer": name},
            )  # fmt: skip
