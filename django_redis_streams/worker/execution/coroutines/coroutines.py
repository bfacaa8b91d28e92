"""The `async def` handlers of one consumer: many run at once, up to a bound. No Redis in here.

The consumer lets them run while it waits, and takes what has come of them whenever it likes. A coroutine that is
slow holds up nobody but itself; one that doesn't give way holds up all.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, NoReturn

from ....conf import GroupConfig
from ....handlers import Handler
from ....message import Message, asked_of
from ....outcomes import HANDLED, Ack, Outcome
from ....store.consume.delivery import Delivery
from ...shared.scoreboard import Slots
from ...strays import leave, leave_if_stray
from ..batch import Batch
from ..databases import Databases
from ..running_calls import RunningCall
from .deadlines import Deadlines, TimedCall
from .event_loop import EventLoop
from .slots import CoroutineSlots
from .thread_calls import GRACE, ThreadCalls, current_run
from .threads import THREADS

__all__ = ["LATEST", "Coroutines"]

# In seconds: an outcome waits no longer than this while other runs begin, or go on.
LATEST = 0.05
# In seconds: how often old connections are closed while there is no moment without a coroutine.
_TIDY_EACH = 1.0
# Before Python 3.12 a task takes its first step in the loop's next turn, and not where it is made.
_BEGIN_LATER = sys.version_info < (3, 12)

# A call with one message that hasn't begun. Most calls are like this, so it is as cheap as can be.
_Single = tuple[Handler, Delivery, Message]
_Judged = Callable[[Handler, Delivery, Message, BaseException | Ack | None, float], Outcome]


@dataclass(slots=True)
class _Call:
    """A call to await; `coroutine` is set if the function was called already, `allowed` if it was allowed to run."""

    batch: Batch
    coroutine: Coroutine[Any, Any, Any] | None = None
    allowed: bool = False


class Coroutines:
    """Runs what is added, at most ASYNC_CONCURRENCY messages at once; a batch counts as its messages.

    `judged` returns the outcome of a run, from its error and from when it began on the monotonic clock. `decoded`
    decodes a message anew. `fails_all` says whether the error of a batch is that of each of its messages,
    `has_receivers` whether signals tell of each run. A batch that is larger than the bound runs when nothing else does.
    `make_databases` makes what looks after the connections of their database thread.
    """

    def __init__(
        self,
        group: GroupConfig,
        slots: Slots,
        judged: _Judged,
        decoded: Callable[[Delivery], Message],
        fails_all: Callable[[Batch, BaseException], bool],
        *,
        make_databases: Callable[[], Databases],
    ) -> None:
        self._group = group
        self._most = group.async_concurrency
        self._coroutine_slots = CoroutineSlots(slots)
        # The calls in the database thread, and in the other threads.
        self._thread_calls = ThreadCalls(1), ThreadCalls(THREADS)
        self._deadlines = Deadlines(slots, self._coroutine_slots, self._thread_calls)
        # The calls in flight, by the first message of each.
        self._tasks = self._deadlines.calls
        self._judged = judged
        self._decoded = decoded
        self._fails_all = fails_all
        self._make_databases = make_databases
        self._may_run: Callable[[Delivery], bool] = lambda _: True
        self.has_receivers = False
        self._event_loop: EventLoop | None = None
        self._backlog: deque[_Call] = deque()
        self._singles: deque[_Single] = deque()
        self._running = 0
        # When a run last began, or ended.
        self._now = 0.0
        # Whether the loop has a `_tick` to come, by which it says that it turns.
        self._ticks = False
        # Whether calls are being begun, and the latest of them: from Python 3.12 on it takes its first step then.
        self._begins = False
        self._latest: Sequence[Delivery] = ()
        self._ended: list[Delivery] = []
        self._durations: list[float] = []
        self._wakes = False
        self._tidied = 0.0

    @property
    def room(self) -> int:
        """How many more messages could be begun at once."""
        waiting = len(self._singles) + sum(len(call.batch) for call in self._backlog)
        return max(0, self._most - self._running - waiting)

    @property
    def busy(self) -> bool:
        """Whether a message runs, waits for room, or has ended and was not yet taken."""
        return bool(self._running or self._backlog or self._singles or self._ended)

    @property
    def begun(self) -> bool:
        """Whether there is a loop that has to run while the consumer waits, and that can."""
        return self._event_loop is not None and not self._event_loop.running

    def add(self, batch: Batch, coroutine: Coroutine[Any, Any, Any] | None = None) -> None:
        """Run a call for these as soon as there is room; give `coroutine` if the handler was called already."""
        self._backlog.append(_Call(batch, coroutine, allowed=coroutine is not None))

    def add_one(self, handler: Handler, delivery: Delivery, message: Message) -> None:
        """Run a call for this message, after the calls that were added by `add`."""
        self._singles.append((handler, delivery, message))

    def begin(self, may_run: Callable[[Delivery], bool]) -> bool:
        """Begin what there is room for; return True if more could begin, but outcomes shouldn't wait for that.

        `may_run` is asked right before each message: one that it refuses isn't run and has no outcome.
        """
        if not self._next_has_room:
            return False
        self._may_run = may_run
        if self._event_loop is None:
            self._event_loop = EventLoop(self._make_databases(), *self._thread_calls)
        if not self._running:
            self._event_loop.databases.trust_nothing()
        self._deadlines.turn(outside=True)
        if not self._ticks:
            self._ticks = True
            self._event_loop.later(LATEST, self._tick)
        self._event_loop.call(self._begin)
        self._deadlines.turn()
        return self._next_has_room

    def wait(self, seconds: float, *, fd: int | None = None, until_ended: bool = False) -> None:
        """Let coroutines run for so long, or until `fd` can be read or, with `until_ended`, a coroutine has ended."""
        if self._event_loop is not None and not (until_ended and self._ended):
            self._deadlines.turn(outside=True)
            self._wakes = until_ended
            self._event_loop.wait(seconds, fd)
            self._wakes = False
            self._deadlines.turn()

    def take(self) -> tuple[list[Delivery], list[float]]:
        """Return the deliveries that have ended since the last call, and each one's share of its run's seconds."""
        taken = self._ended, self._durations
        if self._ended:
            self._ended, self._durations = [], []
            self._tidy()
        return taken

    def running(self) -> list[RunningCall]:
        """Return the calls that were begun and wait for something; for another thread."""
        calls = list(self._tasks.values())
        return [RunningCall(each.handler, each.first.id, each.began, len(each.deliveries)) for each in calls]

    def note_holder(self) -> None:
        """Write on the slots what keeps the loop from turning, if anything does; for another thread."""
        if self._event_loop is not None and self._running:
            self._deadlines.note_holder(self._event_loop, self._latest if self._begins else None)

    def disown(self) -> None:
        """In a forked child: the run that forked it ends the process, and no other goes on."""
        self.has_receivers = True  # or a run that returns would not be judged
        self._judged = _ended_as_stray
        if self._event_loop is not None:
            self._event_loop.disown()

    def close(self) -> None:
        """Cancel what still runs, and let go of the loop and of its databases."""
        if self._event_loop is not None:
            self._event_loop.close()

    @property
    def _next_has_room(self) -> bool:
        if self._backlog:
            return not self._running or self._running + len(self._backlog[0].batch) <= self._most
        return bool(self._singles) and self._running < self._most

    def _begin(self) -> None:
        self._begins = True
        self._now = time.monotonic()
        until = self._now + LATEST
        if not self._running:
            first = [delivery for call in self._backlog for delivery in call.batch.deliveries]
            self._coroutine_slots.name_next(first + [delivery for _, delivery, _ in self._singles])
        try:
            while self._backlog and self._now < until and self._next_has_room:
                self._begin_call(self._backlog.popleft())
            if not self._backlog:
                self._begin_singles(until)
        finally:
            self._begins = False

    def _begin_call(self, call: _Call) -> None:
        if not call.allowed:
            self._drop_refused(call)
        batch = call.batch
        if batch.deliveries:
            seconds = batch.handler.deadline(self._group, 0.0)
            self._running += len(batch)
            assert self._event_loop is not None
            self._latest = batch.deliveries
            task = self._event_loop.task(self._run(call, seconds))
            if not task.done():
                if _BEGIN_LATER:
                    task.add_done_callback(partial(self._cancelled_unrun, call))
                self._suspended(task, seconds, batch.deliveries, batch.handler, batch.messages[0])

    def _drop_refused(self, call: _Call) -> None:
        """Leave out the messages that may not be run."""
        asked = zip(call.batch.deliveries, call.batch.messages, strict=True)
        allowed = [each for each in asked if self._may_run(each[0])]
        if len(allowed) < len(call.batch):
            self._coroutine_slots.forget_next()
            deliveries, messages = [each for each, _ in allowed], [each for _, each in allowed]
            call.batch = Batch(call.batch.handler, deliveries, messages)

    def _begin_singles(self, until: float) -> None:
        """Begin calls with one message, as `_begin_call` does, in as few steps as it takes."""
        assert self._event_loop is not None
        singles, may_run, run, begin = self._singles, self._may_run, self._run_one, self._event_loop.task
        latest, seconds = None, inf
        while singles and self._now < until and self._running < self._most:
            handler, delivery, message = singles.popleft()
            if not may_run(delivery):
                self._coroutine_slots.forget_next()
                continue
            if handler is not latest:
                latest, seconds = handler, handler.deadline(self._group, 0.0)
            self._running += 1
            self._latest = (delivery,)
            task = begin(run(handler, delivery, message, seconds))
            if not task.done():
                if _BEGIN_LATER:
                    call = _Call(Batch(handler, self._latest, [message]))
                    task.add_done_callback(partial(self._cancelled_unrun, call))
                self._suspended(task, seconds, self._latest, handler, message)

    def _suspended(
        self, task: asyncio.Task[None], seconds: float, deliveries: Sequence[Delivery], handler: Handler, first: Message
    ) -> None:
        """Keep track of a task that waits for something, or before Python 3.12 for its first turn."""
        if _BEGIN_LATER:
            self._now = time.monotonic()
        deadline = self._now + seconds
        self._tasks[deliveries[0]] = TimedCall(task, deadline, seconds, deliveries, handler, first, self._now)
        self._deadlines.soonest = min(self._deadlines.soonest, deadline)

    def _cancelled_unrun(self, call: _Call, task: asyncio.Task[None]) -> None:
        """Fail a call whose task was cancelled before it had begun.

        A handler that cancels all tasks may cancel one that hasn't begun, which therefore can't fail by itself.
        """
        if task.cancelled():
            if call.coroutine is not None:
                call.coroutine.close()
            self._failed(call.batch, asyncio.CancelledError(), time.monotonic())
            self._running -= len(call.batch)
            self._leave(call.batch.deliveries[0])

    async def _run_one(self, handler: Handler, delivery: Delivery, message: Message, seconds: float) -> None:
        """Run a call with one message, as `_run` does. Most calls are like this, so it takes as few steps as it can."""
        self._now = began = time.monotonic()
        slot = self._coroutine_slots.take(delivery, began + seconds + GRACE)
        current_run.set((delivery, seconds))
        try:
            await handler.function(message)
        except BaseException as error:  # noqa: BLE001
            # The cause has no name here: its traceback holds this frame, and the frame would then hold the cause.
            delivery.outcome = self._judged(handler, delivery, message, self._cause(error, handler, delivery), began)
        else:
            plain = asked_of(message) is None and not self.has_receivers
            delivery.outcome = HANDLED if plain else self._judged(handler, delivery, message, asked_of(message), began)
        self._ended.append(delivery)
        self._now = ended = time.monotonic()
        self._durations.append(ended - began)
        self._coroutine_slots.give_back(slot)
        self._running -= 1
        if self._tasks and delivery in self._tasks:
            self._leave(delivery)

    async def _run(self, call: _Call, seconds: float) -> None:
        """Run a call, whatever it raises: sys.exit() and a cancellation of its own are failures of the handler."""
        batch, first = call.batch, call.batch.deliveries[0]
        self._now = began = time.monotonic()
        slots = [self._coroutine_slots.take(delivery, began + seconds + GRACE) for delivery in batch.deliveries]
        current_run.set((first, seconds))
        try:
            await (call.coroutine or batch.handler.function(batch.messages.copy()))
        except BaseException as error:  # noqa: BLE001
            self._failed(batch, self._cause(error, batch.handler, first), began)
        else:
            self._end(batch, None, began)
        for slot in slots:
            self._coroutine_slots.give_back(slot)
        self._now = time.monotonic()
        self._running -= len(batch)
        if first in self._tasks:
            self._leave(first)

    def _leave(self, first: Delivery) -> None:
        """Note that a call that was suspended has ended."""
        self._deadlines.end(first)
        if self._wakes and self._event_loop is not None:
            self._event_loop.stop()

    def _failed(self, batch: Batch, error: BaseException, began: float) -> None:
        """Fail a call; run each message of a batch alone to find the guilty one, unless the error is that of all."""
        leave_if_stray()
        if len(batch) == 1 or self._fails_all(batch, error):
            self._end(batch, error, began)
            return
        # Decoded anew: the call that failed may have marked or changed them.
        alone = [Batch(batch.handler, [each], [self._decoded(each)]) for each in batch.deliveries]
        self._backlog.extend(_Call(each, allowed=True) for each in alone)

    def _tick(self) -> None:
        """Tend to the deadlines, in the loop, again and again while something is in flight."""
        self._deadlines.turn()
        self._ticks = bool(self._running) and self._event_loop is not None
        if self._ticks and self._event_loop is not None:
            self._event_loop.later(LATEST, self._tick)

    def _cause(self, error: BaseException, handler: Handler, first: Delivery) -> BaseException:
        """Return the error of a call, or a `TimeoutError` if the call was cancelled at its deadline."""
        if first not in self._deadlines.timed_out or not isinstance(error, asyncio.CancelledError):
            return error
        timeout = self._group.timeout if handler.timeout is None else handler.timeout
        timed_out = TimeoutError(f"it ran for longer than its TIMEOUT of {timeout:g} s, and was cancelled")
        return timed_out.with_traceback(error.__traceback__)

    def _end(self, batch: Batch, error: BaseException | None, began: float) -> None:
        took = (time.monotonic() - began) / len(batch)
        for delivery, message in zip(batch.deliveries, batch.messages, strict=True):
            cause = asked_of(message) if error is None else error
            delivery.outcome = self._judged(batch.handler, delivery, message, cause, began)
            self._ended.append(delivery)
            self._durations.append(took)

    def _tidy(self) -> None:
        now = time.monotonic()
        if self._event_loop is not None and (not self._running or now - self._tidied > _TIDY_EACH):
            self._tidied = now
            self._event_loop.databases.tidy()


def _ended_as_stray(_handler: Handler, _delivery: Delivery, _message: Message, error: Any, _began: float) -> NoReturn:
    leave(error)
