"""Finds out which groups have something to claim, and tells their consumers.

A group is looked at ahead of time. If nothing in it has been idle for nearly CLAIM_IDLE, nothing can become stale
before the next look. Only where something has been idle for so long, or there are suspects, the group is looked at
again and again. What may be claimed at once, because it was handed back, is told to `hear`.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any

from redis.exceptions import ResponseError

from ...connections import Link
from ...connections.refusals import PartUnreachable
from ...store.consume.asking import Answer, ask_all
from ...store.consume.ownership import idle_commands
from ...store.consume.suspects import count_suspects_command
from ...store.replies import group_is_gone
from ...store.scripts import Command
from ..consumer.batch_runner import BatchRunner
from ..timing import Timing
from .refusals import Refusals

__all__ = ["ClaimableLooks", "GroupLook"]

# With more than a few processes of a group, each looks less often for what may be claimed: a hundred processes would
# keep the server busy. But where something is about to be stale, each looks at least once in a quarter of CLAIM_IDLE,
# as all others may be busy. And looking takes at most this share of the time, as it takes the server long if very much
# is pending.
_FEW = 4
_OF_CLAIM_IDLE = 0.25
_SHARE = 0.05
# How far ahead a look is at most: what living workers hold is never idle for so long, so it isn't found.
_HORIZON = 0.5


class GroupLook:
    """The looks at one group, for its consumers in this process; `processes` is how many serve the group in all.

    The last look was at `asked`, the next is `due`, on the monotonic clock. `near` says that the last look has found
    something that is stale or about to be, or suspects.
    """

    def __init__(self, consumers: Sequence[BatchRunner], timing: Timing) -> None:
        self.consumers = consumers
        self.membership = consumers[0].membership
        self.processes = 1.0
        self.due = 0.0
        self.near = False
        self._timing = timing
        self._suspects = 0
        self._heard = False
        self._backoff = timing.backoff(least=0.1, most=5.0)
        self.asked = self._counted = -inf

    @property
    def share(self) -> float:
        """This process' share of the looks at the group: 1 where few processes serve it."""
        return min(1.0, _FEW / max(1.0, self.processes))

    @property
    def deleted(self) -> bool:
        """Whether somebody has deleted the group."""
        return all(each.connection.deleted is not None for each in self.consumers)

    @property
    def horizon(self) -> float:
        """How many seconds ahead a look is."""
        timing = self._timing
        ahead = min(timing.look_ahead / self.share, timing.look_ahead_at_most)
        return min(ahead, self.membership.group.claim_idle * _HORIZON)

    @property
    def wait(self) -> float:
        """Seconds from the last look to the next.

        Something near is looked at again as soon as a consumer may claim for the first time, if that is sooner.
        """
        usual, at_least = self._timing.look_stale, self._timing.look_stale_at_least
        most = max(usual, min(at_least, self.membership.group.claim_idle * _OF_CLAIM_IDLE))
        usual = min(most, usual / self.share)
        if not self.near:
            return max(usual, self.horizon)
        soon = min((left for each in self.consumers if (left := each.claiming.claims_in) > 0), default=inf)
        return min(usual, soon + self._timing.between_looks)

    def hear(self, now: float) -> None:
        """Have the group looked at now; or soon, if it was looked at just now."""
        self._heard = True
        self.due = min(self.due, max(now, self.asked + self._timing.look_stale))

    def is_known(self, now: float) -> bool:
        """Return whether a look would tell nobody anything: all consumers know that there is something to claim."""
        if self._heard or self._suspects or self._counted < self.asked or now - self.asked >= self.horizon:
            return False
        return self.near and all(each.claiming.stale.is_set() for each in self.consumers)

    def ahead_commands(self, now: float) -> list[Command]:
        """Ask what is stale within the horizon; and for suspects, if something was near, or it is long since.

        Who hears of something that was handed back doesn't ask for suspects at once: mostly the worker that has lost a
        process runs them by then, and a hundred others would each begin a process for that.
        """
        ahead_ms = round(self.horizon * 1000)
        commands = idle_commands(self.membership, max(1, self.membership.claim_idle_ms - ahead_ms))
        if self.near or now - self._counted >= self._timing.look_at_clock:
            commands.append(count_suspects_command(self.membership))
        return commands

    def answered(self, replies: Sequence[Any], now: float) -> bool:
        """Take the replies to `ahead_commands`, asked `now`; return whether something may be stale."""
        idle, suspects = replies[: len(self.membership.sources)], replies[len(self.membership.sources) :]
        if suspects:
            (self._suspects,), self._counted = suspects, now
        self.near = any(idle) or self._suspects > 0
        return any(idle)

    @property
    def has_suspects(self) -> bool:
        """Whether the group had suspects when they were last asked for."""
        return self._suspects > 0

    def stale_commands(self) -> list[Command]:
        """Ask what may be claimed now: only what was handed back, where no consumer may claim more."""
        may_claim = any(each.claiming.may_claim for each in self.consumers)
        return idle_commands(self.membership, self.membership.claim_idle_ms, returned_only=not may_claim)

    def tell(self, link: Link) -> None:
        """Tell the consumers that there is something to claim, and end their blocked reads by this link."""
        for each in self.consumers:
            if not each.claiming.stale.is_set():
                each.claiming.stale.set()
                each.connection.wake(link)

    def plan(self, asked: float, *, at_least: float, part: float) -> None:
        """Plan the next look: after `part` of the wait since one that has `asked` then. The horizon allows no more."""
        self.asked, self._heard = asked, False
        self.due = asked + max(at_least, self.wait * part)
        self._backoff.reset()

    def put_off(self, now: float) -> float:
        """Plan the next look after one that was refused; return in how many seconds it is."""
        wait = self._backoff.more()
        self.due = now + wait
        return wait


class ClaimableLooks:
    """Looks at the groups of a connection, at all together whose time has come, and tells their consumers.

    `look_at_clock` is called before anything counts as stale: if the clock has jumped, it only seems so. `see_suspects`
    is called where there are some. `refused` is told what the server has refused, and in how many seconds the group is
    looked at again: others are looked at meanwhile.
    """

    def __init__(
        self,
        groups: Sequence[GroupLook],
        timing: Timing,
        *,
        look_at_clock: Callable[[Link], None],
        see_suspects: Callable[[], None],
        refused: Callable[[str, float], None],
    ) -> None:
        self._groups = {(each.membership.stream.name, each.membership.group.name): each for each in groups}
        self._timing = timing
        self._look_at_clock = look_at_clock
        self._see_suspects = see_suspects
        self._refused = refused
        self._heard: deque[tuple[str, str]] = deque()
        # When the next look is due, on the monotonic clock.
        self._next = 0.0

    def hear(self, stream: str, group: str) -> None:
        """Have a group looked at in the next step; for any thread."""
        self._heard.append((stream, group))

    def look_anew(self) -> None:
        """Have all groups looked at in the next step: what was seen may not hold any more."""
        self._heard.extend(self._groups)

    @property
    def due_in(self) -> float:
        """In how many seconds the next look is due; 0 if one is."""
        return max(0.0, self._next - time.monotonic())

    def step(self, link: Link) -> None:
        """Look at the groups that are due. Only a refused look at the clock is raised, after all."""
        now = time.monotonic()
        while self._heard:
            if (heard := self._groups.get(self._heard.popleft())) is not None:
                heard.hear(now)
                self._next = min(self._next, heard.due)
        if now < self._next:
            return
        try:
            self._look(link, [each for each in self._groups.values() if each.due <= now], now)
        finally:
            self._next = min(each.due for each in self._groups.values())

    def _look(self, link: Link, groups: Sequence[GroupLook], now: float) -> None:
        due = []
        for each in groups:
            if each.deleted:
                each.due = inf
            elif each.is_known(now):
                each.due = now + self._timing.look_stale
            else:
                due.append(each)
        answers = ask_all(link, [each.ahead_commands(now) for each in due])
        least = max(self._timing.between_looks, (time.monotonic() - now) / _SHARE)
        # One jitter for all, so that those who are looked at together stay together.
        part = random.uniform(0.95, 1.0)  # noqa: S311  not a secret
        found = []
        for look, answer in zip(due, answers, strict=True):
            with self._put_off_if_refused(look, now):
                if look.answered(_there(link, look, answer), now):
                    found.append(look)
                if look.has_suspects:
                    self._see_suspects()
                look.plan(now, at_least=least, part=part)
        if found:
            self._tell(link, found, now)

    def _tell(self, link: Link, looks: Sequence[GroupLook], now: float) -> None:
        """Tell the consumers of these groups of what they may claim now, if there is something."""
        refusals = Refusals()
        with refusals.kept():
            self._look_at_clock(link)
        answers = ask_all(link, [each.stale_commands() for each in looks])
        for look, answer in zip(looks, answers, strict=True):
            with self._put_off_if_refused(look, now):
                if any(_there(link, look, answer)):
                    look.tell(link)
        refusals.raise_first()

    @contextmanager
    def _put_off_if_refused(self, look: GroupLook, now: float) -> Iterator[None]:
        """Do something for one group. A group that is gone again while it is made is no refusal."""
        try:
            yield
        except ResponseError as error:
            wait = look.put_off(now)
            # Who consumes the group tells that its node is away.
            if not (group_is_gone(error) or isinstance(error, PartUnreachable)):
                self._refused(str(error), wait)


def _there(link: Link, look: GroupLook, answer: Answer) -> Sequence[Any]:
    """Return the replies about a group, none if it is gone: then it is made; raise any other error.

    A consumer that runs handlers would otherwise learn only after them that its group was deleted.
    """
    if not isinstance(answer, ResponseError):
        return answer
    if not group_is_gone(answer):
        raise answer
    for each in look.consumers:
        each.connection.make_group(link)
    return ()
