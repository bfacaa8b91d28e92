"""By when the coroutines of a consumer must have ended. Time in which their event loop stood still doesn't count.

Nor does time in which a coroutine waits for its turn in a thread.

A coroutine that doesn't give way, a function of the same consumer, or the consumer's own work keeps all of them from
getting on. They are excused for that; only a coroutine that is seen to hold the loop is not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from ....handlers import Handler
from ....message import Message
from ....store.consume.delivery import Delivery
from ...shared.scoreboard import Slots
from .event_loop import EventLoop
from .slots import CoroutineSlots
from .thread_calls import GRACE, ThreadCalls

__all__ = ["Deadlines", "TimedCall"]

# In seconds: a loop that turned later than this has stood still.
_STOOD = 0.1
# For time in which coroutines may have held the loop, each is excused up to so many times its TIMEOUT: it may have held
# the loop itself, unseen.
_EXCUSED = 10


@dataclass(slots=True)
class TimedCall:
    """A call in flight: its task, by when that is to have ended, its TIMEOUT, and what it is for since when."""

    task: asyncio.Task[None]
    deadline: float
    timeout: float
    deliveries: Sequence[Delivery]
    handler: Handler
    first: Message
    began: float


class Deadlines:
    """`calls` are in flight, by the first message of each; of these, `timed_out` were cancelled for their TIMEOUT.

    `soonest` is not above the next deadline. Code that adds to `calls` lowers it.
    """

    def __init__(self, slots: Slots, coroutine_slots: CoroutineSlots, thread_calls: Sequence[ThreadCalls]) -> None:
        self.calls: dict[Delivery, TimedCall] = {}
        self.timed_out: set[Delivery] = set()
        self.soonest = inf
        self._slots = slots
        self._coroutine_slots = coroutine_slots
        self._thread_calls = thread_calls
        self._threads_hang = False
        self._turned = 0.0
        # For how many seconds each call was excused because coroutines may have held the loop.
        self._excused: dict[Delivery, float] = {}
        self._seen: tuple[float, object] = (0.0, None)

    def end(self, first: Delivery) -> None:
        """Forget a call that has ended."""
        del self.calls[first]
        self.timed_out.discard(first)
        for each in self._thread_calls:
            each.forget(first)
        if self._excused:
            self._excused.pop(first, None)

    def turn(self, *, outside: bool = False) -> None:
        """Note that the loop turns: excuse calls for how long it stood still, then cancel those beyond their TIMEOUT.

        This may also be called when the loop is about to turn.

        `outside` says that the loop wasn't run meanwhile: no call has held it. A call that is cancelled and goes on
        nevertheless is the supervisor's to end.
        """
        now = time.monotonic()
        stood = now - self._turned
        self._turned = now
        if stood > _STOOD and self.calls:
            self._excuse(stood, outside=outside)
        if now >= self.soonest:
            self._cancel(now)
        if self._threads_hang or any(each.running for each in self._thread_calls):
            self._look_at_threads(now)
        # Not earlier: the supervisor blames a run that still goes on when its loop has turned after its deadline.
        self._slots.turn(now)

    @property
    def _next(self) -> float:
        left = [call.deadline for first, call in self.calls.items() if first not in self.timed_out]
        return min(left, default=inf)

    def _cancel(self, now: float) -> None:
        taken = self._coroutine_slots.taken()
        for first, call in self.calls.items():
            if call.deadline > now or first in self.timed_out:
                continue
            before = call.deadline
            call.deadline += sum(each.waited(first, now) for each in self._thread_calls)
            if call.deadline <= now:
                self.timed_out.add(first)
                call.task.cancel()
                for each in self._thread_calls:
                    each.cancel(first, now + GRACE)
            # A cancelled call has its grace from now on: its deadline may be long past.
            self._coroutine_slots.put_off(_slots_of(taken, call), max(call.deadline, now) - before)
        self.soonest = self._next

    def _look_at_threads(self, now: float) -> None:
        """Write on the slots whether threads only run calls that should have ended, and how many messages wait."""
        hang = [each for each in self._thread_calls if each.hang(now)]
        self._threads_hang = bool(hang)
        waiting = [call for first, call in self.calls.items() if any(each.waiting(first) for each in hang)]
        self._slots.note_threads(sum(len(call.deliveries) for call in waiting) if hang else None)

    def _excuse(self, seconds: float, *, outside: bool) -> None:
        taken = self._coroutine_slots.taken()
        for each in self._thread_calls:
            each.put_off(seconds)
        holders = (not outside and self._slots.holders) or frozenset()
        for first, call in self.calls.items():
            slots = _slots_of(taken, call)
            excused = self._excused.get(first, 0.0)
            if not outside:
                if excused > _EXCUSED * call.timeout or not holders.isdisjoint(slots):
                    continue
                self._excused[first] = excused + seconds
            call.deadline += seconds
            self._coroutine_slots.put_off(slots, seconds)
        self.soonest = self._next

    def note_holder(self, loop: EventLoop, begun: Sequence[Delivery] | None) -> None:
        """Note which call holds a loop that hasn't turned for a while, once that is seen twice; for another thread.

        `begun` are the messages of a call that takes its first step right now; None if there is none.
        """
        turned = self._slots.turned
        if time.monotonic() - turned < 2 * _STOOD:
            return
        task = loop.current_task()
        before, self._seen = self._seen, (turned, task)
        if not loop.running or (task is None and begun is not None):  # the consumer's own work
            self._slots.note((), 0.0)
        elif before == self._seen:
            taken = self._coroutine_slots.taken()
            self._slots.note([taken[each] for each in self._held_by(task, begun) if each in taken], turned)

    def _held_by(self, task: object, begun: Sequence[Delivery] | None) -> list[str]:
        """Return the tokens of the call whose step the task takes; none if a call only made the task or left it."""
        for call in list(self.calls.values()):
            if call.task is task:
                return [each.token for each in call.deliveries]
        return [each.token for each in begun or ()]


def _slots_of(taken: Mapping[str, int], call: TimedCall) -> list[int]:
    """Return the slots of a call, or none if it hasn't begun."""
    return [taken[each.token] for each in call.deliveries if each.token in taken]
