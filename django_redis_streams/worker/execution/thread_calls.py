"""Whose call the database thread of a consumer runs, and which of its coroutines wait for their turn in it.

A call belongs to the run that asked for it, itself or by a task that it has made. Time in which a run waits for its
turn is not its own. A call that goes on for longer than its run may can be ended only with its process.

The loop's thread asks, and the database thread begins and ends. What is added up has one writer, so there
is no lock that a forked child could find held.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from math import inf

from ...store.consume.delivery import Delivery

__all__ = ["GRACE", "Call", "ThreadCalls", "current_run"]

# In seconds: what was cancelled at its deadline has so long to end, before the supervisor ends the process for it.
GRACE = 2.0

# In a task: the first message of the run that it belongs to, and the TIMEOUT of that.
current_run: ContextVar[tuple[Delivery | None, float]] = ContextVar("current_run", default=(None, inf))


class Call:
    """One call for the thread; `by` is when it must have ended at the latest, once it has begun."""

    __slots__ = "asked", "begun", "by", "owner", "seconds"

    def __init__(self) -> None:
        self.owner, self.seconds = current_run.get()
        self.asked = time.monotonic()
        self.begun = False
        self.by = inf


class _Waits:
    """What one run has asked for and not got, and for how many seconds it has waited: for calls that have begun."""

    __slots__ = "calls", "excused", "free", "seconds"

    def __init__(self) -> None:
        self.calls: set[Call] = set()
        self.seconds = 0.0
        # When its last call ended: while that ran, the next one waited for nobody else.
        self.free = 0.0
        self.excused = 0.0

    def since(self, call: Call) -> float:
        """From when on this call has waited for others."""
        return max(call.asked, self.free)


class ThreadCalls:
    """The calls that were asked for; `current` is the one that the thread runs."""

    def __init__(self) -> None:
        self.current: Call | None = None
        self._waits: dict[Delivery, _Waits] = {}

    def ask(self) -> Call:
        """A call is asked for, by the task that runs."""
        call = Call()
        # The tasks that a run left behind have no deadline that could be put off.
        if call.owner is not None and call.owner.outcome is None:
            self._waits.setdefault(call.owner, _Waits()).calls.add(call)
        return call

    def begin(self, call: Call) -> None:
        """In the thread: it has its turn."""
        now = time.monotonic()
        waits = self._waits_of(call)
        if waits is not None:
            # In this order: who looks in between sees it twice rather than not at all.
            waits.seconds += now - waits.since(call)
            waits.calls.discard(call)
        call.begun, call.by = True, now + call.seconds + GRACE
        self.current = call

    def end(self, call: Call) -> None:
        """It has ended, in the thread; or in the loop, where it was cancelled before its turn."""
        now = time.monotonic()
        waits = self._waits_of(call)
        if call.begun:
            self.current = None
        elif waits is not None:
            waits.excused -= now - waits.since(call)
            waits.calls.discard(call)
        if waits is not None:
            waits.free = now

    def waiting(self, first: Delivery) -> bool:
        """Whether this run waits while the thread runs the call of another."""
        waits, current = self._waits.get(first), self.current
        return waits is not None and bool(waits.calls) and (current is None or current.owner is not first)

    def waited(self, first: Delivery, now: float) -> float:
        """For how many seconds this run has waited since this was asked last."""
        waits = self._waits.get(first)
        if waits is None:
            return 0.0
        total, calls = waits.seconds, list(waits.calls)
        if calls and self.waiting(first):
            total += max(0.0, now - min(map(waits.since, calls)))
        anew = max(0.0, total - waits.excused)
        waits.excused += anew
        return anew

    def cancel(self, first: Delivery, by: float) -> None:
        """This run was cancelled: a call of it that goes on must have ended by then."""
        current = self.current
        if current is not None and current.owner is first:
            current.by = min(current.by, by)

    def forget(self, first: Delivery) -> None:
        """This run has ended."""
        if self._waits:
            self._waits.pop(first, None)

    def _waits_of(self, call: Call) -> _Waits | None:
        return None if call.owner is None else self._waits.get(call.owner)
