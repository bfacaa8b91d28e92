"""From a delivery to its outcome: find the handler, run it, judge what it did. No Redis in here.

Whatever a handler raises, and whatever an entry holds, ends in an outcome. What runs is written on the slots
before it runs: should it end the process, the supervisor reads there what did.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextvars import copy_context
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction

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
from .board import Slots
from .databases import Databases

__all__ = ["Executor"]

_LONGEST_ERROR = 1_000
_LONGEST_TRACEBACK = 8_000

_HANDLED = Ack()
_SKIPPED = Ack(skipped=True)


# A delivery for a batch handler, with its row on the slots and its message.
_Collected = tuple[int, Delivery, Message]


class Executor:
    """Runs the handlers of one group in the calling thread, and writes on `slots` what it runs."""

    def __init__(self, handlers: HandlerSet, group: GroupConfig, slots: Slots) -> None:
        self._handlers = handlers
        self._functions = {each: _in_transaction(each) for each in handlers}
        self._group = group
        self._slots = slots
        self._databases = Databases()
        # Coroutines reach databases in the one thread that asgiref has for that, never in this one.
        self._loop_databases: Databases | None = None
        self._runner = asyncio.Runner()
        self._heard = False

    @property
    def at_once(self) -> int:
        """How many messages it can run at the same time."""
        return self._group.batch_size if any(each.batch for each in self._handlers) else 1

    def run(self, deliveries: Sequence[Delivery], may_run: Callable[[Delivery], bool]) -> Iterator[Settled]:
        """Run these, one by one, and tell the outcome of each as it is known.

        `may_run` is asked right before each: what it refuses isn't run and has no outcome. Messages for a
        batch handler are collected and run together, at the end, up to BATCH_SIZE of them at once.
        """
        self._before_batch()
        # What was claimed or looked for may be more than there are rows.
        for first in range(0, len(deliveries), self._slots.rows):
            yield from self._run_part(deliveries[first : first + self._slots.rows], may_run)
        self._after_batch()

    def _run_part(self, deliveries: Sequence[Delivery], may_run: Callable[[Delivery], bool]) -> Iterator[Settled]:
        """As many as there are rows: each stands on one."""
        self._slots.name([each.token for each in deliveries])
        deadlines = self._slots.deadlines
        batches: dict[Handler, list[_Collected]] = {}
        for row, delivery in enumerate(deliveries):
            try:
                message = decode(delivery.origin, delivery.published_id, delivery.fields, delivery.carried)
            except Undecodable as error:
                if may_run(delivery):
                    yield delivery, self._invalid(delivery, error)
                continue
            handler = self._handlers.find(message.type)
            if handler is not None and handler.batch:
                batches.setdefault(handler, []).append((row, delivery, message))
            elif may_run(delivery):
                if handler is None:
                    outcome = self._unmatched(delivery, message)
                else:
                    deadlines[row] = handler.deadline(self._group, time.monotonic())
                    outcome = self._run(handler, delivery, message)
                    deadlines[row] = 0.0
                yield delivery, outcome
        for handler, batch in batches.items():
            yield from self._run_batch(handler, [each for each in batch if may_run(each[1])])

    def close(self) -> None:
        """Let go of the thread's database connections and event loop, and of those that its coroutines used."""
        self._databases.close()
        if self._loop_databases is not None:
            self._runner.run(sync_to_async(self._loop_databases.close)())
        self._runner.close()

    def _before_batch(self) -> None:
        self._heard = signals.worker_heard()
        self._databases.watch()
        self._databases.before_batch()
        if self._loop_databases is not None:
            self._loop_databases.before_batch()

    def _after_batch(self) -> None:
        self._databases.after_batch()
        if self._loop_databases is not None:
            self._runner.run(sync_to_async(self._loop_databases.after_batch)())

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

    def _run(self, handler: Handler, delivery: Delivery, message: Message) -> Outcome:
        began = time.perf_counter() if self._heard else 0.0
        try:
            self._call(handler, message)
        except BaseException as error:  # noqa: BLE001  sys.exit() in a handler is a failure of the handler
            return self._outcome(handler, delivery, message, error, began)
        if message.asked is None and not self._heard:
            return _HANDLED
        return self._outcome(handler, delivery, message, message.asked, began)

    def _run_batch(self, handler: Handler, batch: list[_Collected]) -> Iterator[Settled]:
        """One call for all; where it raises, one call each, so that the guilty one is found."""
        if not batch:
            return
        began = time.perf_counter()
        error = self._failure_of_batch(handler, batch)
        if error is None:
            for _, delivery, message in batch:
                yield delivery, self._outcome(handler, delivery, message, message.asked, began)
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
            self._call(handler, [message for _, _, message in batch])
        except BaseException as error:  # noqa: BLE001  as above
            return error
        finally:
            for row, _, _ in batch:
                self._slots.deadlines[row] = 0.0
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

    def _call(self, handler: Handler, argument: Message | list[Message]) -> None:
        databases = self._databases
        if databases.any_open:
            databases.before_message()
        try:
            result = self._functions[handler](argument)
            if result is not None and asyncio.iscoroutine(result):
                # In a context of its own: what one message sets, the next must not find.
                self._runner.run(self._awaited(result), context=copy_context())
        finally:
            if databases.any_open:
                databases.after_message()

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        if self._loop_databases is None:
            self._loop_databases = Databases()
        try:
            await sync_to_async(self._loop_databases.watch)()
            await sync_to_async(self._loop_databases.before_message)()
            await coroutine
        finally:
            coroutine.close()
            await sync_to_async(self._loop_databases.after_message)()


def _decoded(delivery: Delivery) -> Message:
    return decode(delivery.origin, delivery.published_id, delivery.fields, delivery.carried)


def _as_foreign(delivery: Delivery) -> Message:
    return decode_as_foreign(delivery.origin, delivery.published_id, delivery.fields, delivery.carried)


def _in_transaction(handler: Handler) -> Callable[[Any], Any]:
    """The handler's function, in a transaction where it wants one."""
    if handler.atomic is False:
        return handler.function
    return transaction.atomic(using=handler.atomic)(handler.function)


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
        begin = frame.tb_next if frame.tb_frame.f_code.co_filename == __file__ else begin
        frame = frame.tb_next
    try:
        lines = traceback.format_exception(type(error), error, begin)
        return "".join(lines)[-_LONGEST_TRACEBACK:]
    except BaseException:  # noqa: BLE001  as in _line
        return ""
