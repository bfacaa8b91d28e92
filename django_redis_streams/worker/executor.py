"""From a delivery to its outcome: find the handler, run it, judge what it did. No Redis in here.

Whatever a handler raises, and whatever an entry holds, ends in an outcome.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db import transaction

from ..conf import GroupConfig
from ..exceptions import Reject, Retry
from ..handlers import Handler, HandlerSet
from ..message import Message
from ..outcomes import Ack, DeadLetter, Failure, Outcome, Reason
from ..retry import judge
from ..store.delivery import Delivery
from ..store.settle import Settled
from ..wire import Undecodable, decode
from .databases import Databases

__all__ = ["Executor"]

_LONGEST_ERROR = 1_000
_LONGEST_TRACEBACK = 8_000

Run = tuple[Delivery, Message]


class Executor:
    """Runs the handlers of one group in the calling thread."""

    def __init__(self, handlers: HandlerSet, group: GroupConfig) -> None:
        self._handlers = handlers
        self._group = group
        self._databases = Databases()
        self._runner = asyncio.Runner()

    def run(self, deliveries: Iterable[Delivery], may_run: Callable[[Delivery], bool]) -> Iterator[Settled]:
        """Run these, one by one, and tell the outcome of each as it is known.

        `may_run` is asked right before each: what it refuses isn't run and has no outcome. Messages for a
        batch handler are collected and run together, at the end.
        """
        batches: dict[Handler, list[Run]] = {}
        for delivery in deliveries:
            if not may_run(delivery):
                continue
            found = self._prepare(delivery)
            if not isinstance(found, tuple):
                yield delivery, found
            elif found[1].batch:
                batches.setdefault(found[1], []).append((delivery, found[0]))
            else:
                yield delivery, self._run(found[1], found[0])
        for handler, runs in batches.items():
            yield from self._run_batch(handler, [each for each in runs if may_run(each[0])])
        self._databases.after_batch()

    def close(self) -> None:
        """Let go of the thread's database connections and event loop."""
        self._databases.close()
        self._runner.close()

    def _prepare(self, delivery: Delivery) -> tuple[Message, Handler] | Outcome:
        """The message and its handler, or the outcome of a message that reaches none."""
        try:
            message = decode(delivery.origin, delivery.published_id, delivery.fields, delivery.carried)
        except Undecodable as error:
            return DeadLetter(Reason.INVALID, Failure(error=str(error)))
        handler = self._handlers.find(message.type)
        if handler is not None:
            return message, handler
        if self._group.unmatched == "skip":
            return Ack(skipped=True)
        return DeadLetter(
            Reason.NO_HANDLER,
            Failure(error=f"No handler of group {self._group.name!r} takes the type {message.type!r}."),
        )

    def _run(self, handler: Handler, message: Message) -> Outcome:
        try:
            self._call(handler, message)
        except BaseException as error:  # noqa: BLE001  sys.exit() in a handler is a failure of the handler
            return self._judge(handler, message.attempt, error)
        return Ack() if message.asked is None else self._judge(handler, message.attempt, message.asked)

    def _run_batch(self, handler: Handler, runs: list[Run]) -> Iterator[Settled]:
        """One call for all; where it raises, one call each, so that the guilty one is found."""
        if not runs:
            return
        try:
            self._call(handler, [message for _, message in runs])
        except BaseException as error:  # noqa: BLE001  as above
            if len(runs) == 1:
                delivery, message = runs[0]
                yield delivery, self._judge(handler, message.attempt, error)
                return
            for each in runs:
                yield from self._run_batch(handler, [each])
            return
        for delivery, message in runs:
            asked = message.asked
            yield delivery, Ack() if asked is None else self._judge(handler, message.attempt, asked)

    def _call(self, handler: Handler, argument: Message | list[Message]) -> None:
        self._databases.before_message()
        try:
            with _transaction(handler):
                result: Any = handler.function(argument)
                if handler.is_async:
                    self._runner.run(result)
        finally:
            self._databases.after_message()

    def _judge(self, handler: Handler, attempt: int, error: BaseException) -> Outcome:
        failure = Failure(handler=handler.name, error=_line(error), traceback=_traceback(error))
        return judge(error, attempt, handler.policy(self._group), failure)


def _transaction(handler: Handler) -> AbstractContextManager[None]:
    if handler.atomic is False:
        return nullcontext()
    return transaction.atomic(using=handler.atomic)


def _line(error: BaseException) -> str:
    if isinstance(error, Reject):
        return error.reason[:_LONGEST_ERROR]
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  a broken __str__ is the handler's, and must not end the worker
        text = "(its text can't be had)"
    return f"{type(error).__name__}: {text}"[:_LONGEST_ERROR]


def _traceback(error: BaseException) -> str:
    """The traceback from the handler's own frame on; empty where the handler asked for what became of it."""
    if isinstance(error, (Reject, Retry)):
        return ""
    try:
        lines = traceback.format_exception(type(error), error, error.__traceback__ and error.__traceback__.tb_next)
        return "".join(lines)[-_LONGEST_TRACEBACK:]
    except Exception:  # noqa: BLE001  as in _line
        return ""
