"""Which runs have calls in the threads of a consumer's coroutines, and which of these wait for their turn there.

A call belongs to the run that asked for it, itself or by a task that it has made. Time in which a run waits for its
turn doesn't count. If a call goes on for longer than its run may, only the end of its process ends it.

The loop's thread asks for calls, the others begin and end them. There is no lock that a forked child could find held:
several threads write only to containers and single attributes, and each such step is atomic.
"""

from __future__ import annotations

import time
from collections import deque
from contextvars import ContextVar
from math import inf

from ....store.consume.delivery import Delivery

__all__ = ["GRACE", "Call", "ThreadCalls", "current_run"]

# In seconds: a run that was cancelled at its deadline has so long to end, before the supervisor ends its process.
GRACE = 2.0

# In a task: the first message of the run that it belongs to, and the TIMEOUT of that.
current_run: ContextVar[tuple[Delivery | None, float]] = ContextVar("current_run", default=(None, inf))


class Call:
    """One call for a thread; `by` is when it must have ended at the latest, once it has begun."""

    __slots__ = "asked", "begun", "by", "owner", "seconds"

    def __init__(self) -> None:
        self.owner, self.seconds = current_run.get()
        self.asked = time.monotonic()
        self.begun = False
        self.by = inf


class _Waits:
    """The `calls` that one run waits for, and for how many `seconds` it has waited for those that have begun."""

    __slots__ = "calls", "ended", "free", "seconds"

    def __init__(self) -> None:
        self.calls: set[Call] = set()
        self.seconds = 0.0
        # Seconds of waits that ended in threads, to be added.
        self.ended: deque[float] = deque()
        # When its last call ended: while that ran, the next one waited for no other run.
        self.free = 0.0

    def since(self, call: Call) -> float:
        """Return since when this call has waited for other runs."""
        return max(call.asked, self.free)

    def add(self) -> None:
        """Add the waits that ended in threads; called in the loop."""
        while self.ended:
            self.seconds += self.ended.popleft()


class ThreadCalls:
    """The calls that were asked for, for so many threads to run; `running` are those that have a thread."""

    def __init__(self, threads: int) -> None:
        self.running: set[Call] = set()
        self._threads = threads
        self._waits: dict[Delivery, _Waits] = {}

    def ask(self) -> Call:
        """Return a new call, asked for by the task that runs."""
        call = Call()
        # The tasks that a run left behind have no deadline that could be put off.
        if call.owner is not None and call.owner.outcome is None:
            waits = self._waits.setdefault(call.owner, _Waits())
            waits.add()
            waits.calls.add(call)
        return call

    def begin(self, call: Call) -> None:
        """Note that a call has its turn; called in its thread."""
        now = time.monotonic()
        waits = self._waits_of(call)
        if waits is not None:
            # In this order: a look in between sees the wait twice rather than not at all.
            waits.ended.append(now - waits.since(call))
            waits.calls.discard(call)
        call.begun, call.by = True, now + call.seconds + GRACE
        self.running.add(call)

    def end(self, call: Call) -> None:
        """Note that a call has ended in its thread, or in the loop if it was cancelled before its turn."""
        now = time.monotonic()
        self.running.discard(call)
        waits = self._waits_of(call)
        if waits is not None:
            if not call.begun:
                waits.ended.append(now - waits.since(call))
                waits.calls.discard(call)
            waits.free = now

    def hang(self, now: float) -> bool:
        """Whether all threads run calls that should have ended."""
        return sum(call.by <= now for call in list(self.running)) >= self._threads

    def waiting(self, first: Delivery) -> bool:
        """Return whether this run waits while the threads run other runs' calls."""
        waits = self._waits.get(first)
        return waits is not None and bool(waits.calls) and not self._of(first)

    def waited(self, first: Delivery, now: float) -> float:
        """Return for how many seconds this run has waited since this was asked last."""
        waits = self._waits.get(first)
        if waits is None:
            return 0.0
        waits.add()
        seconds, waits.seconds = waits.seconds, 0.0
        calls = list(waits.calls)
        if calls and self.waiting(first):
            seconds += now - min(map(waits.since, calls))
            waits.free = now
        return max(0.0, seconds)

    def cancel(self, first: Delivery, by: float) -> None:
        """Note that a run was cancelled: a call of it that goes on must end by then."""
        for call in self._of(first):
            call.by = min(call.by, by)

    def put_off(self, seconds: float) -> None:
        """Give the running calls so many more seconds, as the process may have stood still."""
        for call in list(self.running):
            call.by += seconds

    def forget(self, first: Delivery) -> None:
        """Forget a run that has ended."""
        if self._waits:
            self._waits.pop(first, None)

    def _of(self, first: Delivery) -> list[Call]:
        return [call for call in list(self.running) if call.owner is first]

    def _waits_of(self, call: Call) -> _Waits | None:
        return None if call.owner is None else self._waits.get(call.owner)
