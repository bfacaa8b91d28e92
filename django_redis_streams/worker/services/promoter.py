"""Moves due retries and delayed messages to where groups read them; for each stream, one process at a time.

Where nothing waits, nobody holds the lease, and each process looks now and then whether something does. Else the one
that holds it sleeps until what waits is due. A notice tells of what is due sooner than anybody looks.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Sequence
from math import inf

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...connections import Link
from ...connections.refusals import PartUnreachable
from ...store.consume.clock import TOLERATED_MS, latest_seen, server_time
from ...store.consume.promote import (
    AT_ONCE,
    Held,
    Promotion,
    anything_waits,
    leases,
    let_go,
    promote,
    recorded_groups,
)  # fmt: skip
from ..log.lines import logger
from ..log.recurring import log_refusal
from ..timing import Timing
from .refusals import Refusals
from .service import Service
from .shortening import Shortening

__all__ = ["Promoter"]


class Promoter(Service):
    """Promotes for the streams of one connection, those for which it holds the lease."""

    jitter = 0.0  # due messages would be late by as much

    def __init__(self, alias: str, stop: threading.Event, streams: Sequence[StreamConfig], timing: Timing) -> None:
        super().__init__(alias, stop, timing)
        self._streams = streams
        self._holder = secrets.token_hex(8)
        # When to look at each stream, on the monotonic clock: by itself, and because of a notice.
        self._look_at = dict.fromkeys((each.name for each in streams), 0.0)
        self._heard: dict[str, float] = {}
        self._rest_for = timing.look_at_rest * random.uniform(0.8, 1.2)  # noqa: S311  jitter
        self._held: set[str] = set()
        self._groups: dict[str, tuple[float, list[str]]] = {}
        # When something was moved last, and what the server's clock showed last at which moment.
        self._moved: dict[str, float] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        # How much of what is due was refused in this round, so that the next step passes over it.
        self._passed_over: dict[str, int] = {}
        self._shortenings: dict[str, Shortening] = {}
        self._leaves = False

    @property
    def interval(self) -> float:
        """In seconds: until the next look, but a notice may come before."""
        heard = list(self._heard.values())  # at once, as another thread adds to them
        return max(0.0, min((*self._look_at.values(), *heard), default=inf) - time.monotonic())

    def hear(self, stream: str) -> None:
        """Look at a stream at once; for any thread.

        Every process hears the same: those that don't hold the lease wait for a moment each, for one that takes it.
        """
        wait = 0.0 if stream in self._held else random.uniform(0.0, self._timing.promote / 2)  # noqa: S311  jitter
        self._heard.setdefault(stream, time.monotonic() + wait)
        self.wake()

    def guarded_step(self) -> float:
        """Do the step if there is anything to do, and return how many seconds to wait for the next."""
        interval = self.interval
        return super().guarded_step() if self._leaves or not interval else interval

    def step(self, link: Link) -> None:
        """Look at the streams for which it is time, where the lease may be had and something waits."""
        if self._leaves:
            let_go(link, [each for each in self._streams if each.name in self._held], self._holder)
            return
        now = time.monotonic()
        due = [each for each in self._streams if now >= min(self._look_at[each.name], self._heard.get(each.name, inf))]
        for stream in due:
            self._heard.pop(stream.name, None)
            # The next look is not before this, unless this one goes well.
            self._look_at[stream.name] = now + self._timing.look_for_lease
        self._know_groups(link, due)
        refusals = Refusals()
        for stream in self._worth_a_look(link, due, refusals):
            with refusals.kept():
                self._promote(link, stream)
        refusals.raise_first()

    def end(self) -> None:
        """Let go of the leases, so that other processes take over at once."""
        self._leaves = True
        if self._held:
            self.guarded_step()

    def _worth_a_look(self, link: Link, due: Sequence[StreamConfig], refusals: Refusals) -> Sequence[StreamConfig]:
        """Return those of some streams whose lease this process holds, or may have, as something waits there.

        Without the lease it asks by plain commands: the script costs the server about ten.
        """
        held = [each for each in due if each.name in self._held]
        others = [each for each in due if each.name not in self._held]
        free = []
        for stream, lease in zip(others, leases(link, others), strict=True):
            if lease is None:
                free.append(stream)
            else:
                self._wait_for(stream, lease)
        for part, theirs in link.by_node(free, lambda stream: stream.keys.main) if free else ():
            with refusals.kept():
                held += self._with_something(part, theirs)
        return held

    def _with_something(self, link: Link, free: Sequence[StreamConfig]) -> Sequence[StreamConfig]:
        """Return those of a server's streams, whose lease nobody holds, in which something waits."""
        held: list[StreamConfig] = []
        shown, now = server_time(link), time.monotonic()
        waits = anything_waits(link, [(each, self._groups[each.name][1]) for each in free])
        empty: list[StreamConfig] = []
        for stream, something in zip(free, waits, strict=True):
            (held if something else empty).append(stream)
        has_to = self._have_to_see_clock(link, empty, shown, now)
        for stream in empty:
            if stream.name in has_to:
                held.append(stream)
            else:
                self._rest(stream)
        return held

    def _have_to_see_clock(self, link: Link, streams: Sequence[StreamConfig], shown: int, now: float) -> set[str]:
        """Return for which streams the script must look at the server's clock, which shows so many ms `now`.

        It went back, or may have: what is pending needs that, too. The script also records the latest time, for
        processes that begin later. One process of all records it: whoever finds that another did so lately remembers
        the time by itself.
        """
        found, unsure = set[str](), []
        for stream in streams:
            before, at = self._seen.get(stream.name, (shown, now))
            if before + (now - at) * 1000 - shown > TOLERATED_MS:
                found.add(stream.name)
            elif stream.name not in self._seen or now - at > self._timing.see_clock:
                unsure.append(stream)
        lately = shown - self._timing.see_clock * 1000 / 2
        for stream, seen in zip(unsure, latest_seen(link, [each.keys for each in unsure]), strict=True):
            if lately < seen <= shown + TOLERATED_MS:
                self._seen[stream.name] = shown, now
            else:
                found.add(stream.name)
        return found

    def _promote(self, link: Link, stream: StreamConfig) -> None:
        name, now = stream.name, time.monotonic()
        passed_over, groups = self._passed_over.get(name, 0), self._groups[name][1]
        shown, at = self._seen.get(name, (0, now))
        promotion = promote(
            link, stream, groups, self._holder, passed_over=passed_over,
            moved_lately=now - self._moved.get(name, -inf) < self._timing.promote_awake,
            clock=shown + int((now - at) * 1000) if shown else 0,
        )  # fmt: skip
        if isinstance(promotion, Held):
            self._held.discard(name)
            self._shortenings.pop(name, None)
            self._wait_for(stream, promotion)
            return
        self._seen[name] = promotion.now, time.monotonic()
        if promotion.moved + promotion.vanished + promotion.dead_lettered:
            self._moved[name] = now
        self._log_promotion(stream, promotion, refused_before=passed_over > 0)
        self._go_on(stream, promotion, passed_over)
        self._shorten(link, stream, groups, promotion)

    def _wait_for(self, stream: StreamConfig, lease: Held) -> None:
        """Look again when another's lease may have ended, at a moment of this process' own."""
        left = max(0.0, lease.ms / 1000) + random.uniform(0.5, 1.0) * self._timing.look_for_lease  # noqa: S311  jitter
        self._look_at[stream.name] = time.monotonic() + left

    def _rest(self, stream: StreamConfig) -> None:
        """Nothing waits: a notice will tell when something does. Look by itself nevertheless, some time."""
        self._held.discard(stream.name)
        # At one moment for all streams, so that they are asked about together.
        self._look_at[stream.name] = (time.monotonic() // self._rest_for + 1) * self._rest_for

    def _go_on(self, stream: StreamConfig, promotion: Promotion, passed_over: int) -> None:
        """Decide when the next step is, and where among the due messages it begins.

        Refused messages stay where they are, before later ones that may be well. So the next step passes over them,
        until a round has seen all. The next round begins at the front again, a second later.
        """
        name = stream.name
        if promotion.sleep is None:
            self._rest(stream)
        else:
            self._held.add(name)
        if promotion.more and (promotion.problems or passed_over):
            self._passed_over[name] = passed_over + AT_ONCE
            self._look_at[name] = 0.0
            return
        self._passed_over[name] = 0
        if promotion.problems or passed_over or promotion.sleep is None:
            return
        self._look_at[name] = 0.0 if promotion.more else time.monotonic() + promotion.sleep / 1000

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
            self._look_at[stream.name] = time.monotonic() + self._timing.look_for_lease
            self._report(stream, str(error))
            return
        # What waits may be due sooner now than was just seen.
        self._look_at[stream.name] = 0.0
        if not done:
            self._shortenings[stream.name] = going
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

    def _know_groups(self, link: Link, streams: Sequence[StreamConfig]) -> None:
        """Ask which groups are on record, where that was last done a moment ago; without the lease, some time ago."""
        now, timing = time.monotonic(), self._timing
        unknown = [
            each for each in streams
            if now - self._groups.get(each.name, (-inf,))[0]
            > (timing.look_for_lease if each.name in self._held else timing.see_clock)
        ]  # fmt: skip
        for stream, found in zip(unknown, recorded_groups(link, unknown), strict=True):
            known = self._groups.get(stream.name, (0.0, [*stream.groups]))[1]
            if isinstance(found, ResponseError):
                # The known groups are promoted nevertheless.
                if not isinstance(found, PartUnreachable):
                    self._report(stream, str(found))
            else:
                known = sorted({*found, *stream.groups})
            self._groups[stream.name] = time.monotonic(), known

    def _report(self, stream: StreamConfig, problem: str) -> None:
        log_refusal(
            ("promote", stream.name), problem, "%s: due retries and delayed messages couldn't be moved: %r (%d times)",
            stream.name, extra={"stream": stream.name},
        )  # fmt: skip
