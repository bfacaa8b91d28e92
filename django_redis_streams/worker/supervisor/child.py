"""A process of a supervisor, as that sees it: by its shared memory, and by how it ends."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...store.consume.membership import Membership
from ..shared.counters import ConsumerCounters, ProcessCounters
from ..shared.scoreboard import Scoreboard, Slots
from .overdue import SILENT, Overdue, gets_on, overdue

__all__ = ["Child", "Orphans", "Suspect"]


# In seconds: so long after coroutines have ended, their outcomes are settled.
_SETTLED = 0.5
# In seconds: for so long a process in which nothing runs isn't looked at again; or for the shortest TIMEOUT of a group.
_IDLE = 2.0


@dataclass(frozen=True, slots=True)
class Suspect:
    """A message that is to run alone from now on, by its token; `how` says what became of its process.

    `decoded` says whether it was decoded: if it wasn't, decoding it may have ended the process, or held it up.
    """

    token: str
    how: str
    decoded: bool = True


@dataclass(frozen=True, slots=True)
class Orphans:
    """What one consumer of a dead process, `pid`, leaves, mostly by tokens. It had begun none of its other messages.

    `suspects` may have ended the process. The process was ended for `overdue`, which ran beyond their TIMEOUT, and for
    `undecodable`, which couldn't be decoded within it, each alone. The runs of `stopped` don't count: they were ended
    for another's sake, or at a stop.

    `deadlines` says by when what it was running should have ended, and `ended` when the process was seen to have ended,
    both on the monotonic clock. The rescuer writes to `counters`, in shared memory, which begin with what the process
    had counted and not told the server.
    """

    membership: Membership
    pid: int
    suspects: Sequence[Suspect] = ()
    overdue: Sequence[str] = ()
    undecodable: Sequence[str] = ()
    stopped: Sequence[str] = ()
    deadlines: Mapping[str, float] = field(default_factory=dict)
    ended: float = 0.0
    counters: ConsumerCounters = field(default_factory=ConsumerCounters)


@dataclass(slots=True, eq=False)
class Child:
    """A process that runs, or has just ended; `alone` says that it runs one message at a time.

    `end_at` is by when it is to be killed for a handler's TIMEOUT. `killed_at` is when the supervisor has killed it:
    then no message is to be blamed for its end. `halted` is whether somebody has stopped it (SIGSTOP).
    """

    pid: int
    consumers: Sequence[Membership]
    scoreboard: Scoreboard
    counters: ProcessCounters
    alone: bool = False
    end_at: float = math.inf
    killed_at: float | None = None
    halted: bool = False
    renewed: float = 0.0
    # How often to renew in its place; and for how long, and until when, it isn't looked at because nothing ran in it.
    _interval: float = field(init=False)
    _idle: float = field(init=False)
    _idles_until: float = -math.inf
    # When coroutines were last seen to get on beside an overdue run.
    _others_ended: float = -math.inf
    # When each of its consumers was last seen to run something in its thread, or to wait for a connection.
    _busy: dict[Slots, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._interval = min(each.group.claim_idle for each in self.consumers) / 3
        self._idle = min([_IDLE, *(each.group.timeout for each in self.consumers if each.group.timeout is not None)])

    @property
    def timed_out(self) -> bool:
        """Whether it ends for a handler's TIMEOUT."""
        return self.end_at < math.inf

    def overdue(self, now: float) -> list[Overdue]:
        """Return, for each consumer of the process, what is beyond its time."""
        for each, counters in zip(self.scoreboard.slots, self.counters.active, strict=True):
            if each.in_thread or counters.opens_since is not None:
                self._busy[each] = now
        if self.halted:  # nobody is to blame, but its messages don't wait until somebody wakes it
            late = [any(deadline <= now for _, deadline in each.running_slots()) for each in self.scoreboard.slots]
            return [Overdue(hangs=each) for each in late]
        busy = [self._busy.get(each, 0.0) for each in self.scoreboard.slots]
        return overdue(self.scoreboard, self.consumers, busy, now, alone=self.alone)

    def problem(self, now: float) -> str:
        """Return a text that says what keeps the process from getting on; "" where it gets on."""
        if self._idles(now):
            return ""
        found = self.overdue(now)
        if any(each.guilty for each in found):
            return "has a handler that runs beyond its TIMEOUT"
        if any(each.threads_hang for each in found):
            return "has coroutines whose calls in threads go on beyond their TIMEOUT, and hold up others"
        if any(each.decoding and each.unclear for each in found):
            return "couldn't decode its messages within TIMEOUT, or one of its handlers holds it up"
        if any(each.unclear for each in found):
            return "is held up beyond a TIMEOUT by one of its handlers, and nobody can see by which"
        return "makes no progress, though no handler runs" if any(each.hangs for each in found) else ""

    def _idles(self, now: float) -> bool:
        """Whether no consumer runs anything or waits for a connection, or none did lately: nothing can be overdue."""
        if now >= self._idles_until:
            pairs = zip(self.scoreboard.slots, self.counters.active, strict=True)
            if all(gets_on(slots, now) and counters.opens_since is None for slots, counters in pairs):
                self._idles_until = now + self._idle
        return now < self._idles_until

    def may_be_killed(self, now: float) -> bool:
        """Whether no consumer has to be waited for: each has left, or can't get on, or had its time."""
        if now >= self.end_at or self.scoreboard.silent(now) > SILENT:
            return True
        found = self.overdue(now)
        if any(each.others_get_on for each in found):
            self._others_ended = now
        pairs = zip(self.scoreboard.slots, found, strict=True)
        return now - self._others_ended > _SETTLED and all(slots.left or each.any for slots, each in pairs)

    def needs_renewal(self, now: float) -> bool:
        """Whether it has been silent for too long to renew what it holds, and nobody has done that for it lately."""
        return min(self.scoreboard.silent(now), now - self.renewed) > self._interval

    def kill(self) -> None:
        """End it now."""
        self.killed_at = time.monotonic()
        os.kill(self.pid, signal.SIGKILL)

    def ended_well(self, code: int) -> bool:
        """Whether it came to its end, with nothing left to do for others."""
        return code == 0 and self.scoreboard.ended_well

    def was_running(self) -> bool:
        """Whether it was running anything when it ended."""
        return any(each.running_slots() or each.decoding for each in self.scoreboard.slots)

    def orphans(self, how: str) -> list[Orphans]:
        """Return what the consumers of the process leave, when it has ended."""
        nothing = [Overdue() for _ in self.consumers]
        found = self.overdue(self.killed_at or time.monotonic()) if self.timed_out else nothing
        count = sum(len(each.unclear) for each in found)
        each_of = zip(self.consumers, self.scoreboard.slots, self.counters.active, found, strict=True)
        return [self._orphans_of(*each, how=how, count=count) for each in each_of]

    def _orphans_of(
        self, membership: Membership, slots: Slots, counters: ConsumerCounters, found: Overdue, *, how: str, count: int
    ) -> Orphans:
        decoding = slots.decoding[0] if slots.decoding else ()
        held_up = f"was held up, and it can't be told by which of {count}"
        late = [number for number in found.unclear if number in decoding or slots.deadlines[number]]
        others = [number for number, _ in slots.running_slots() if number not in {*found.guilty, *late}]
        others += [number for number in decoding if number not in late]

        def suspects(numbers: Sequence[int], how: str) -> list[Suspect]:
            named = zip(numbers, slots.names(numbers), strict=True)
            return [Suspect(token, how, decoded=number not in decoding) for number, token in named]

        alone = self.alone and found.decoding
        counted = ConsumerCounters(counters.stream, counters.group)
        counted.inherit_unsent(counters)
        return Orphans(
            membership,
            self.pid,
            suspects=[*([] if alone else suspects(late, held_up)), *([] if self.killed_at else suspects(others, how))],
            overdue=slots.names([number for number in found.guilty if slots.deadlines[number]]),
            undecodable=slots.names(late) if alone else [],
            stopped=slots.names(others) if self.killed_at else [],
            deadlines=dict(slots.running()),
            ended=time.monotonic(),
            counters=counted,
        )
