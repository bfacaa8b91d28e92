"""Moves due retries and delayed messages to where groups read them; for each stream, one process at a time."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...connections import Link
from ...store.consume.clock import TOLERATED_MS
from ...store.consume.promote import AT_ONCE, Promotion, lease_is_free, promote, recorded_groups
from ..log.lines import logger
from ..log.recurring import log_refusal
from ..timing import Timing
from .service import Service
from .shortening import Shortening

__all__ = ["Promoter"]


class Promoter(Service):
    """Promotes for the streams of one connection, those for which it holds the lease."""

    def __init__(self, alias: str, stop: threading.Event, streams: Sequence[StreamConfig], timing: Timing) -> None:
        super().__init__(alias, stop, timing)
        self._streams = streams
        self._holder = secrets.token_hex(8)
        self._ask_again = dict.fromkeys((each.name for each in streams), 0.0)
        self._held: set[str] = set()
        self._groups: dict[str, tuple[float, list[str]]] = {}
        # How much of what is due was refused in this round, so that the next step passes over it.
        self._passed_over: dict[str, int] = {}
        self._shortenings: dict[str, Shortening] = {}
        self._more = False

    @property
    def interval(self) -> float:
        """Due messages are at most about this late. If more are due than one step moves, the next follows at once."""
        return 0.0 if self._more else self._timing.promote

    def step(self, link: Link) -> None:
        """Look once at each stream whose lease may be had."""
        self._more = False
        now = time.monotonic()
        due = [stream for stream in self._streams if now >= self._ask_again[stream.name]]
        self.each(due, lambda stream: self._promote(link, stream))

    def _promote(self, link: Link, stream: StreamConfig) -> None:
        # The next try is not before this, unless this one goes well.
        self._ask_again[stream.name] = time.monotonic() + self._timing.look_for_lease
        if not self._may_hold(link, stream):
            return
        passed_over = self._passed_over.get(stream.name, 0)
        groups = self._known_groups(link, stream)
        promotion = promote(link, stream, groups, self._holder, passed_over=passed_over)
        if promotion is None:
            self._held.discard(stream.name)
            self._shortenings.pop(stream.name, None)
            return
        self._held.add(stream.name)
        self._log_promotion(stream, promotion, refused_before=passed_over > 0)
        self._go_on(stream, promotion, passed_over)
        self._shorten(link, stream, groups, promotion)

    def _go_on(self, stream: StreamConfig, promotion: Promotion, passed_over: int) -> None:
        """Decide when the next step is, and where among the due messages it begins.

        Refused messages stay where they are, before later ones that may be well. So the next step passes over them,
        until a round has seen all. The next round begins at the front again, a second later.
        """
        if promotion.more and (promotion.problems or passed_over):
            self._passed_over[stream.name] = passed_over + AT_ONCE
            self._ask_again[stream.name] = 0.0
            return
        self._passed_over[stream.name] = 0
        if not promotion.problems and not passed_over:
            self._ask_again[stream.name] = 0.0
            self._more = self._more or promotion.more

    def _shorten(self, link: Link, stream: StreamConfig, groups: Sequence[str], promotion: Promotion) -> None:
        """Shorten some waits, if the server's clock went back: messages would otherwise wait for as much longer."""
        going = self._shortenings.pop(stream.name, None)
        if going is None:
            if promotion.behind <= TOLERATED_MS:
                return
            going = Shortening(link, stream, groups, now=promotion.now, behind=promotion.behind)
        try:
            done = going.step()
        except ResponseError as error:
            # The next step begins anew, not at once.
            self._ask_again[stream.name] = time.monotonic() + self._timing.look_for_lease
            self._report(stream, str(error))
            return
        if not done:
            self._shortenings[stream.name] = going
            self._more = True
            return
        logger.warning(
            "%s: the server's clock went back by %.1f s. %d retries and delayed messages would have waited for as much "
            "longer. Their waits were shortened by that. %d pending messages count as idle from now on.",
            stream.name, going.behind / 1000, going.sooner, going.claimable, extra={"stream": stream.name},
        )  # fmt: skip

    def _log_promotion(self, stream: StreamConfig, promotion: Promotion, *, refused_before: bool) -> None:
        # Refusals are reported once a round.
        for problem in () if refused_before else promotion.problems:
            self._report(stream, problem)
        for count, what in (
            (
                promotion.vanished,
                "%s: %d due retries or delayed messages can't be handled: their entries are gone.",
            ),
            (
                promotion.dead_lettered,
                "%s: %d due retries or delayed messages couldn't be moved, and were dead-lettered.",
            ),
        ):
            if count:
                logger.error(what, stream.name, count, extra={"stream": stream.name})

    def _may_hold(self, link: Link, stream: StreamConfig) -> bool:
        """Whether this process held the lease when it last looked, or may get it.

        The others ask by one PTTL: the script and the list of groups cost the server four commands.
        """
        return stream.name in self._held or lease_is_free(link, stream.keys)

    def _known_groups(self, link: Link, stream: StreamConfig) -> list[str]:
        asked, groups = self._groups.get(stream.name, (0.0, [*stream.groups]))
        if time.monotonic() - asked > self._timing.look_for_lease:
            try:
                groups = sorted({*recorded_groups(link, stream.keys), *stream.groups})
            except ResponseError as error:
                # The known groups are promoted nevertheless.
                self._report(stream, str(error))
            self._groups[stream.name] = time.monotonic(), groups
        return groups

    def _report(self, stream: StreamConfig, problem: str) -> None:
        log_refusal(
            ("promote", stream.name), problem, "%s: due retries and delayed messages couldn't be moved: %r (%d times)",
            stream.name, extra={"stream": stream.name},
        )  # fmt: skip
