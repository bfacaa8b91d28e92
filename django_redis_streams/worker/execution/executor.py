"""From a delivery to its outcome: find the handler, run it, judge what it did. No Redis in here.

Whatever a handler raises, and whatever an entry holds, ends in an outcome. A message is written on the slots
before it runs: if its run ends the process, the supervisor reads there which message it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from math import inf
from typing import Any, NamedTuple

from ... import signals
from ...conf import GroupConfig
from ...handlers import Handler, HandlerSet
from ...message import Message, asked_of
from ...outcomes import HANDLED, Ack, DeadLetter, Failure, Outcome, Reason
from ...retry import judge
from ...store.consume.delivery import Delivery
from ...wire import Undecodable, decode_all, decode_entry
from ..shared.scoreboard import Slots
from ..strays import leave_if_stray
from ..timing import DEFAULT_TIMING, Timing
from .batch import Batch
from .coroutines.coroutines import LATEST, Coroutines
from .databases import Databases, forget_inherited
from .failures import failure_of, unmatched
from .outages import outage_of_all, seconds_of_outage
from .running_calls import RunningCall, call_in_thread
from .signalling import Run, undecoded

__all__ = ["Executor", "Permission", "Runs"]

_SKIPPED = Ack(skipped=True)


@dataclass(frozen=True, slots=True)
class _Route:
    """What is done with the messages of one type.

    Either `set_aside` is called with each one's slot, to run it later or not at all; or that is None, and `function` is
    called with each message, and may take `timeout` seconds.
    """

    set_aside: Callable[[int], None] | None = None
    handler: Any = None
    function: Any = None
    timeout: float = 0.0


@dataclass(slots=True)
class Runs:
    """What comes of a batch: each delivery stands in `ended` as soon as it has an outcome.

    The `deliveries` that were run are in step with `durations`, the seconds that each took. `in_batches` of them were
    run in calls for several, which took `seconds_of_batches`.
    """

    ended: list[Delivery]
    deliveries: list[Delivery] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    in_batches: int = 0
    seconds_of_batches: float = 0.0

    def add(self, delivery: Delivery, outcome: Outcome, seconds: float = 0.0) -> None:
        """Add a delivery that has ended with this outcome."""
        delivery.outcome = outcome
        self.ended.append(delivery)
        self.deliveries.append(delivery)
        self.durations.append(seconds)

    def add_alike(self, deliveries: Sequence[Delivery], outcome: Outcome, seconds: float) -> None:
        """Add all deliveries of one call, which have one outcome; its seconds are noted for the first."""
        for each in deliveries:
            each.outcome = outcome
        self.ended.extend(deliveries)
        self.deliveries.extend(deliveries)
        self.durations.extend((seconds, *repeat(0.0, len(deliveries) - 1)))


class Permission(NamedTuple):
    """What is asked right before a run: `one`, whether this message may be run; `all`, whether all of these may.

    If `all` says False, that means nothing: `one` is asked for each. What `one` refuses isn't run and has no outcome.
    """

    one: Callable[[Delivery], bool]
    all: Callable[[Sequence[Delivery]], bool] = lambda _: False


@dataclass(slots=True, eq=False)
class _Part:
    """The deliveries on the slots, with their messages, and which slots are for which batch handler."""

    deliveries: Sequence[Delivery]
    messages: list[Any]
    may_run: Permission
    runs: Runs
    batches: dict[Handler, list[int]] = field(default_factory=dict)
    routes: dict[str | None, _Route] = field(default_factory=dict)

    def batch(self, handler: Handler, slots: Sequence[int]) -> Batch:
        """Return the batch of the deliveries and messages that stand on these slots, which ascend."""
        if len(slots) == len(self.deliveries):
            return Batch(handler, self.deliveries, self.messages, slots)
        return Batch(handler, [self.deliveries[slot] for slot in slots], [self.messages[slot] for slot in slots], slots)


class Executor:
    """Runs the handlers of one group in the calling thread, and writes on `slots` what it runs.

    `now` is when the last run ended, on the monotonic clock: a message costs one look at it. Other code that lets time
    pass between two runs sets it anew, since a run's TIMEOUT begins there.
    """

    def __init__(self, handlers: HandlerSet, group: GroupConfig, slots: Slots, timing: Timing = DEFAULT_TIMING) -> None:
        self._handlers = handlers
        self._timeouts = {each: each.deadline(group, 0.0) for each in handlers}
        self.now = 0.0
        self._late = 0.0
        self._functions = {each: each.in_transaction for each in handlers}
        self._group = group
        self._slots = slots
        make_databases = partial(Databases, timing.trust_connection)
        self._databases = make_databases()
        self._has_receivers = False
        # What stands on the slots of the thread, if anything.
        self._part: _Part | None = None
        self._async = {each for each in handlers if each.is_async}
        self._timeout = inf if group.timeout is None else group.timeout
        self.coroutines = Coroutines(
            group, slots, self._outcome, decode_entry, self._fails_all, make_databases=make_databases
        )

    @property
    def at_once(self) -> int:
        """How many messages it can run at the same time."""
        one_call = self._group.batch_size if any(each.batch for each in self._handlers) else 1
        return max(one_call, self.coroutines.room) if self.runs_coroutines else one_call

    @property
    def runs_coroutines(self) -> bool:
        """Whether some of its handlers are known to be coroutines."""
        return bool(self._async)

    def run(self, deliveries: Sequence[Delivery], may_run: Permission, runs: Runs) -> Iterator[None]:
        """Run these, one by one, and write down in `runs` what comes of each.

        It pauses, by a yield, when outcomes have waited for so long that they should be settled before the next run.
        Messages for a batch handler are collected and run together, at the end, up to BATCH_SIZE of them at once.
        Messages for coroutines go to `coroutines`: the caller begins them there, and takes their outcomes.
        """
        self._before_batch()
        self._go_on()
        # More messages may have been claimed or looked for than there are slots.
        for first in range(0, len(deliveries), self._slots.thread_slots):
            part = deliveries[first : first + self._slots.thread_slots]
            self._slots.name_batch(part)
            yield from self._run_part(part, may_run, runs)
        self._part = None
        self._after_batch()

    def _run_part(self, deliveries: Sequence[Delivery], may_run: Permission, runs: Runs) -> Iterator[None]:
        """Run no more messages than there are slots: each stands on one. Most are for a function, called here."""
        deadlines, call, clock, has_receivers = self._slots.deadlines, self._call, time.monotonic, self._has_receivers
        may_run_one = may_run.one
        ended, ran, took = runs.ended.append, runs.deliveries.append, runs.durations.append
        # If decoding hangs or crashes, the supervisor sees with which messages.
        self._slots.decode(len(deliveries), self.now + self._timeout)
        part = self._part = _Part(deliveries, decode_all(deliveries), may_run, runs)
        self._slots.decoded()
        seen: Any = part  # none of the types
        self.now = clock()  # no handler's TIMEOUT begins before its message is there
        for slot, message in enumerate(part.messages):
            if message.type != seen:
                seen = message.type
                route = part.routes.get(seen) or self._route(seen, part)
                set_aside, handler, function, seconds = route.set_aside, route.handler, route.function, route.timeout
            if set_aside is not None:
                set_aside(slot)
            elif may_run_one(delivery := deliveries[slot]):
                deadlines[slot] = (began := self.now) + seconds
                outcome: Outcome | None = HANDLED
                try:
                    result = call(function, message)
                except BaseException as error:  # noqa: BLE001  sys.exit() in a handler is a failure of the handler
                    outcome = self._outcome(handler, delivery, message, error, began)
                else:
                    if has_receivers or asked_of(message) is not None or result is not None:
                        outcome = self._returned(handler, delivery, message, result, began)
                deadlines[slot] = 0.0
                now = self.now = clock()
                if outcome is not None:
                    delivery.outcome = outcome
                    ended(delivery)
                    ran(delivery)
                    took(now - began)
                if now > self._late:
                    yield
                    self._go_on()
        yield from self._run_batches(part)

    def running(self) -> list[RunningCall]:
        """Return the calls that go on; for another thread. One that begins or ends meanwhile may be left out."""
        return [*call_in_thread(self._handlers, self._slots, self._look), *self.coroutines.running()]

    def _look(self) -> tuple[Sequence[Any], float]:
        return (self._part.messages if self._part else ()), self.now

    def get_on(self) -> None:
        """Tell the supervisor, before each read at least, that the thread gets on: it runs no handler, nor hangs."""
        self.now = time.monotonic()
        self._slots.get_on(self.now)

    def _go_on(self) -> None:
        """Go on after a pause in which all outcomes were settled."""
        self.get_on()
        self._late = self.now + LATEST

    def _route(self, type_: str | None, part: _Part) -> _Route:
        """Choose and note the route of messages of this type; None stands for those that can't be decoded."""
        route = part.routes[type_] = self._new_route(type_, part)
        return route

    def _new_route(self, type_: str | None, part: _Part) -> _Route:
        handler = None if type_ is None else self._handlers.find(type_)
        if handler is None:
            judged = self._invalid if type_ is None else self._unmatched
            return _Route(partial(self._settle_unrun, judged, part))
        if handler.batch:
            return _Route(part.batches.setdefault(handler, []).append)
        if handler in self._async:
            return _Route(partial(self._give_away, handler, part))
        return _Route(None, handler, self._functions[handler], self._timeouts[handler])

    def _settle_unrun(self, judged: Callable[[Delivery, Any], Outcome], part: _Part, slot: int) -> None:
        """Give a delivery its outcome without a run, because no handler can be called with it."""
        if part.may_run.one(delivery := part.deliveries[slot]):
            part.runs.add(delivery, judged(delivery, part.messages[slot]))

    def _give_away(self, handler: Handler, part: _Part, slot: int) -> None:
        self.coroutines.add_one(handler, part.deliveries[slot], part.messages[slot])

    def _run_batches(self, part: _Part) -> Iterator[None]:
        for handler, slots in part.batches.items():
            batch = part.batch(handler, slots)
            if handler in self._async:
                self.coroutines.add(batch)
            elif allowed := _allowed(part, batch):
                yield from self._run_batch(allowed, part.runs)

    def disown(self) -> None:
        """In a forked child: what runs ends the process when it has ended, and writes nothing on the slots."""
        forget_inherited()
        self._databases.any_open = True  # or nobody would look after the call
        self.coroutines.disown()

    def close(self) -> None:
        """Let go of the thread's database connections and event loop, and of those that its coroutines used."""
        self._databases.close()
        self.coroutines.close()

    def _before_batch(self) -> None:
        self._has_receivers = self.coroutines.has_receivers = signals.worker_has_receivers()
        self._databases.watch()
        self._databases.before_batch()

    def _after_batch(self) -> None:
        self._databases.after_batch()

    def _invalid(self, delivery: Delivery, error: Undecodable) -> Outcome:
        if self._has_receivers:
            delivery.run = undecoded(delivery)
        return DeadLetter(Reason.INVALID, Failure(error=str(error)))

    def _unmatched(self, delivery: Delivery, message: Message) -> Outcome:
        if self._group.unmatched == "skip":
            return _SKIPPED
        if self._has_receivers:
            delivery.run = Run(message)
        return DeadLetter(Reason.NO_HANDLER, unmatched(self._group.name, message.type))

    def _returned(
        self, handler: Handler, delivery: Delivery, message: Message, result: object, began: float
    ) -> Outcome | None:
        """Return the outcome of a call; None where it returned a coroutine, which is to be run."""
        if asyncio.iscoroutine(result):
            self.coroutines.add(Batch(handler, [delivery], [message]), result)
            return None
        return self._outcome(handler, delivery, message, asked_of(message), began)

    def _run_batch(self, batch: Batch, runs: Runs) -> Iterator[None]:
        """Make one call for all. If it raises, make one each to find the guilty one, unless all share the error."""
        began = self.now = time.monotonic()
        result, error = self._call_batch(batch)
        if asyncio.iscoroutine(result):
            self.coroutines.add(batch, result)
        elif error is None or len(batch) == 1 or self._fails_all(batch, error):
            runs.in_batches += len(batch)
            runs.seconds_of_batches += self.now - began
            self._judge_batch(batch, error, began, runs)
        else:
            yield from self._run_each(batch, runs)
        if self.now > self._late:
            yield
            self._go_on()

    def _run_each(self, batch: Batch, runs: Runs) -> Iterator[None]:
        for slot, delivery in zip(batch.slots, batch.deliveries, strict=True):
            if self.now > self._late:
                yield
                self._go_on()
            # Decoded anew: the call that failed may have marked or changed it.
            self._slots.run([slot], self.now + self._timeouts[batch.handler])
            alone, began = Batch(batch.handler, [delivery], [decode_entry(delivery)], [slot]), self.now
            result, error = self._call_batch(alone)
            if asyncio.iscoroutine(result):
                self.coroutines.add(alone, result)
            else:
                self._judge_batch(alone, error, began, runs)

    def _judge_batch(self, batch: Batch, error: BaseException | None, began: float, runs: Runs) -> None:
        """Add the outcomes of a call for a batch: all alike, or for each message what it was marked for."""
        seconds = self.now - began
        if error is None and not self._has_receivers and not any(map(asked_of, batch.messages)):
            runs.add_alike(batch.deliveries, HANDLED, seconds)
            return
        for delivery, message in zip(batch.deliveries, batch.messages, strict=True):
            cause = asked_of(message) if error is None else error
            runs.add(delivery, self._outcome(batch.handler, delivery, message, cause, began), seconds)
            seconds = 0.0  # as in `add_alike`

    def _call_batch(self, batch: Batch) -> tuple[Any, BaseException | None]:
        """Call the handler for all messages of a batch; return its result, and what it raised."""
        # The call gets a list of its own, to do with as it likes.
        messages = batch.messages.copy()
        self._slots.run(batch.slots, self.now + self._timeouts[batch.handler])
        try:
            return self._call(self._functions[batch.handler], messages), None
        except BaseException as error:  # noqa: BLE001  as above
            return None, error
        finally:
            self._slots.run(batch.slots, 0.0)
            self.now = time.monotonic()

    def _outcome(
        self, handler: Handler, delivery: Delivery, message: Message, error: BaseException | Ack | None, began: float
    ) -> Outcome:
        """Return the outcome of a run that has ended, and write the run down where a receiver listens.

        What asked for an outcome stands in the place of the error; a message that repeats another's run has its own.
        """
        if isinstance(error, Ack):
            return error
        if self._has_receivers:
            delivery.run = Run(message, handler.name, time.monotonic() - began, error)
        if error is None:
            return HANDLED
        failure = failure_of(handler, error)
        outage = seconds_of_outage(error, delivery)
        return judge(error, message.attempt, handler.policy(self._group), failure, outage)

    def _fails_all(self, batch: Batch, error: BaseException) -> bool:
        """Return whether the error of a call for several is judged as that of each, because none is guilty of it."""
        return outage_of_all(error, batch.deliveries, batch.handler.policy(self._group))

    def _call(self, function: Callable[[Any], Any], argument: Message | list[Message]) -> Any:
        """Call a handler's function, and return its result, which counts only if it is a coroutine.

        A decorator may hide that the function returns one. Each call has a copy of the thread's context, as a request
        has: the next finds no language, time zone or other context variable of this one.
        """
        databases = self._databases
        if databases.any_open:
            databases.before_message()
        try:
            result = copy_context().run(function, argument)
        except BaseException:
            if databases.look_for_open():
                leave_if_stray()
                databases.after_message()
            raise
        if databases.any_open:
            leave_if_stray()
            databases.after_return()
        return result


def _allowed(part: _Part, batch: Batch) -> Batch | None:
    """Return the batch without the messages that may not be run, or None if none may."""
    if part.may_run.all(batch.deliveries):
        return batch
    slots = [slot for slot in batch.slots if part.may_run.one(part.deliveries[slot])]
    return part.batch(batch.handler, slots) if slots else None
