"""From a delivery to its outcome: find the handler, run it, judge what it did. No Redis in here.

Whatever a handler raises, and whatever an entry holds, ends in an outcome. What runs is written on the slots
before it runs: should it end the process, the supervisor reads there what did.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from .. import signals
from ..conf import GroupConfig
from ..exceptions import Reject, Retry
from ..handlers import Handler, HandlerSet
from ..message import Message
from ..outcomes import Ack, DeadLetter, Failure, Outcome, Reason
from ..retry import judge
from ..store.delivery import Delivery, Run
from ..store.settle import Settled
from ..wire import Undecodable, decode, decode_as_foreign
from . import coroutines
from .board import Slots
from .coroutines import Coroutines
from .databases import Databases

__all__ = ["Executor"]

_LONGEST_ERROR = 1_000
_LONGEST_TRACEBACK = 8_000

_HANDLED = Ack()
_SKIPPED = Ack(skipped=True)
# Instead of a failure: the call has given a coroutine.
_GIVEN_AWAY = BaseException()
# Their frames say nothing about a handler.
_OWN_FILES = (__file__, coroutines.__file__)


# A delivery for a batch handler, with its row on the slots and its message.
_Collected = tuple[int, Delivery, Message]


class Executor:
    """Runs the handlers of one group in the calling thread, and writes on `slots` what it runs.

    `now` is when the last run ended, on the monotonic clock: a message costs one look at it. Whoever else lets time
    pass between two runs sets it anew, since a run's TIMEOUT begins there.
    """

    def __init__(self, handlers: HandlerSet, group: GroupConfig, slots: Slots) -> None:
        self._handlers = handlers
        self._timeouts = {each: each.deadline(group, 0.0) for each in handlers}
        self.now = 0.0
        self._functions = {each: each.in_transaction for each in handlers}
        self._group = group
        self._slots = slots
        self._databases = Databases()
        self._heard = False
        self._async = {each for each in handlers if each.is_async}
        self._runs_functions = len(self._async) < len(handlers)
        self.coroutines = Coroutines(group, slots, self._outcome, _decoded)

    @property
    def at_once(self) -> int:
        """How many messages it can run at the same time."""
        one_call = self._group.batch_size if any(each.batch for each in self._handlers) else 1
        return max(one_call, self.coroutines.room) if self.runs_coroutines else one_call

    @property
    def runs_coroutines(self) -> bool:
        """Whether some of its handlers are known to be coroutines."""
        return bool(self._async)

    def run(self, deliveries: Sequence[Delivery], may_run: Callable[[Delivery], bool]) -> Iterator[Settled]:
        """Run these, one by one, and tell the outcome of each as it is known.

        `may_run` is asked right before each: what it refuses isn't run and has no outcome. Messages for a
        batch handler are collected and run together, at the end, up to BATCH_SIZE of them at once. What is for
        coroutines goes to `coroutines`, which are to be begun and asked for its outcomes.
        """
        self._before_batch()
        self.now = time.monotonic()
        # What was claimed or looked for may be more than there are rows.
        for first in range(0, len(deliveries), self._slots.rows):
            yield from self._run_part(deliveries[first : first + self._slots.rows], may_run)
        self._after_batch()

    def _run_part(self, deliveries: Sequence[Delivery], may_run: Callable[[Delivery], bool]) -> Iterator[Settled]:
        """As many as there are rows: each stands on one."""
        if self._runs_functions:
            self._slots.name([each.token for each in deliveries])
        deadlines, asynchronous, find = self._slots.deadlines, self._async, self._handlers.find
        batches: dict[Handler, list[_Collected]] = {}
        for row, delivery in enumerate(deliveries):
            try:
                message = decode(delivery.origin, delivery.published_id, delivery.fields, delivery.carried)
            except Undecodable as error:
                if may_run(delivery):
                    yield delivery, self._invalid(delivery, error)
                continue
            handler = find(message.type)
            if handler is not None and handler.batch:
                batches.setdefault(handler, []).append((row, delivery, message))
            elif handler in asynchronous:
                self.coroutines.add(handler, [(delivery, message)])
            elif may_run(delivery):
                outcome: Outcome | None
                if handler is None:
                    outcome = self._unmatched(delivery, message)
                else:
                    deadlines[row] = self.now + self._timeouts[handler]
                    outcome = self._run(handler, delivery, message)
                    deadlines[row] = 0.0
                    self.now = time.monotonic()
                if outcome is not None:
                    yield delivery, outcome
        yield from self._run_batches(batches, may_run)

    def _run_batches(
        self, batches: dict[Handler, list[_Collected]], may_run: Callable[[Delivery], bool]
    ) -> Iterator[Settled]:
        for handler, batch in batches.items():
            if handler in self._async:
                self.coroutines.add(handler, [(delivery, message) for _, delivery, message in batch])
            else:
                yield from self._run_batch(handler, [each for each in batch if may_run(each[1])])

    def close(self) -> None:
        """Let go of the thread's database connections and event loop, and of those that its coroutines used."""
        self._databases.close()
        self.coroutines.close()

    def _before_batch(self) -> None:
        self._heard = signals.worker_heard()
        self._databases.watch()
        self._databases.before_batch()

    def _after_batch(self) -> None:
        self._databases.after_batch()

    def _invalid(self, delivery: Delivery, error: Undecodable) -> Outcome:
        if self._heard:
            delivery.run = Run(_as_foreign(delivery))
        return DeadLetter(Reason.INVALID, Failure(error=str(error)))

    def _unmatched(self, delivery: Delivery, message: Message) -> Outcome:
        if self._group.unmatched == "skip":
            return _SKIPPED
        if self._heard:
            delivery.run = Run(message)
        return DeadLetter(
            Reason.NO_HANDLER,
            Failure(error=f"No handler of group {self._group.name!r} takes the type {message.type!r}."),
        )

    def _run(self, handler: Handler, delivery: Delivery, message: Message) -> Outcome | None:
        """The outcome; None where the function turned out to be one that gives a coroutine, which is to be run."""
        began = time.perf_counter() if self._heard else 0.0
        try:
            coroutine = self._call(handler, message)
        except BaseException as error:  # noqa: BLE001  sys.exit() in a handler is a failure of the handler
            return self._outcome(handler, delivery, message, error, began)
        if coroutine is not None:
            self.coroutines.add(handler, [(delivery, message)], coroutine)
            return None
        if message.asked is None and not self._heard:
            return _HANDLED
        return self._outcome(handler, delivery, message, message.asked, began)

    def _run_batch(self, handler: Handler, batch: list[_Collected]) -> Iterator[Settled]:
        """One call for all; where it raises, one call each, so that the guilty one is found."""
        if not batch:
            return
        began = time.perf_counter()
        error = self._failure_of_batch(handler, batch)
        if error is _GIVEN_AWAY:
            return
        if error is None:
            for _, delivery, message in batch:
                plain = message.asked is None and not self._heard
                yield delivery, _HANDLED if plain else self._outcome(handler, delivery, message, message.asked, began)
        elif len(batch) == 1:
            ((_, delivery, message),) = batch
            yield delivery, self._outcome(handler, delivery, message, error, began)
        else:
            for row, delivery, _ in batch:
                # Decoded anew: the call that failed may have marked or changed it.
                yield from self._run_batch(handler, [(row, delivery, _decoded(delivery))])

    def _failure_of_batch(self, handler: Handler, batch: list[_Collected]) -> BaseException | None:
        deadline = handler.deadline(self._group, time.monotonic())
        for row, _, _ in batch:
            self._slots.deadlines[row] = deadline
        try:
            coroutine = self._call(handler, [message for _, _, message in batch])
        except BaseException as error:  # noqa: BLE001  as above
            return error
        finally:
            for row, _, _ in batch:
                self._slots.deadlines[row] = 0.0
            self.now = time.monotonic()
        if coroutine is not None:
            self.coroutines.add(handler, [(delivery, message) for _, delivery, message in batch], coroutine)
            return _GIVEN_AWAY
        return None

    def _outcome(
        self, handler: Handler, delivery: Delivery, message: Message, error: BaseException | None, began: float
    ) -> Outcome:
        """What a run that ended so has come to; it is written down where somebody listens."""
        if self._heard:
            delivery.run = Run(message, handler.name, time.perf_counter() - began, error)
        if error is None:
            return _HANDLED
        failure = Failure(handler=handler.name, error=_line(error), traceback=_traceback(error))
        return judge(error, message.attempt, handler.policy(self._group), failure)

    def _call(self, handler: Handler, argument: Message | list[Message]) -> Coroutine[Any, Any, Any] | None:
        """Call it; what it returned where that is a coroutine: a decorator may hide an `async def`."""
        databases = self._databases
        if databases.any_open:
            databases.before_message()
        try:
            result = self._functions[handler](argument)
        finally:
            if databases.any_open:
                databases.after_message()
        return result if result is not None and asyncio.iscoroutine(result) else None


def _decoded(delivery: Delivery) -> Message:
    return decode(delivery.origin, delivery.published_id, delivery.fields, delivery.carried)


def _as_foreign(delivery: Delivery) -> Message:
    return decode_as_foreign(delivery.origin, delivery.published_id, delivery.fields, delivery.carried)


def _line(error: BaseException) -> str:
    try:
        text = str(error.reason) if isinstance(error, Reject) else f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001  a broken __str__ is the handler's, and must not end the worker
        text = f"{type(error).__name__}: (its text can't be had)"
    return text[:_LONGEST_ERROR]


def _traceback(error: BaseException) -> str:
    """The traceback from the handler's own frame on; empty where the handler asked for what became of it."""
    if isinstance(error, (Reject, Retry)):
        return ""
    begin = frame = error.__traceback__
    while frame is not None:
        begin = frame.tb_next if frame.tb_frame.f_code.co_filename in _OWN_FILES else begin
        frame = frame.tb_next
    try:
        lines = traceback.format_exception(type(error), error, begin)
        return "".join(lines)[-_LONGEST_TRACEBACK:]
    except BaseException:  # noqa: BLE001  as in _line
        return ""
