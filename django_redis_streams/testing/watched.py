"""Watching handlers: what they raise, how often they run, and which errors must end the test, not be retried."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import async_to_sync

from ..conf import GroupConfig
from ..exceptions import Reject, Retry
from ..handlers import Handler
from ..worker.execution.outages import unavailable_database
from ..worker.stop import Stop

__all__ = ["Watch"]


class Watch:
    """Watches handlers. `stop` ends the running consumer; `errors` holds the handlers' errors."""

    def __init__(self, limit: int, *, raise_errors: bool) -> None:
        self.stop = Stop()
        self.errors: list[BaseException] = []
        self._limit = limit
        self._raise_errors = raise_errors
        self._runs = 0
        self._ended_by: BaseException | None = None

    def over(self, handler: Handler) -> Callable[[Any], None]:
        """Return the handler's function, watched, in its transaction, whose own errors are the run's too.

        A coroutine's database work is done in the calling thread.
        """
        function = handler.in_transaction

        @wraps(function)
        def watched(argument: Any) -> None:
            self._count(handler)
            try:
                if handler.is_async:
                    async_to_sync(function)(argument)
                else:
                    function(argument)
            except BaseException as error:
                # The messages of a failed batch are run again one by one; then the guilty one's error is noted. Where
                # none is guilty, they stay together.
                if not (handler.batch and len(argument) > 1) or _waits(handler, error):
                    self._note(handler, error)
                raise

        return watched

    def raise_what_ended_it(self) -> None:
        """Raise the error that ended the consumer: it must not be taken for a failed message."""
        if self._ended_by is not None:
            raise self._ended_by

    def _count(self, handler: Handler) -> None:
        self._runs += 1
        if self._runs > self._limit:
            self._end(
                RuntimeError(
                    f"drain() has run {self._limit} handlers, the last of them {handler.name}, and more is left. "
                    "Does one publish to itself, or ask for Retry(count=False) each time? Else raise limit=."
                )
            )

    def _note(self, handler: Handler, error: BaseException) -> None:
        # A person or the test runner ends the test: Ctrl-C, a time-out, pytest.fail().
        if not isinstance(error, Exception | SystemExit):
            self._end(error)
        elif not isinstance(error, Retry | Reject):
            self.errors.append(error)
            if self._raise_errors or _waits(handler, error):
                self._end(error)

    def _end(self, error: BaseException) -> None:
        self._ended_by = self._ended_by or error
        self.stop.set()


def _waits(handler: Handler, error: BaseException) -> bool:
    """Return whether a worker would retry for a day; but nobody unlocks a database while a test waits."""
    return unavailable_database(error) and handler.policy(GroupConfig(name=handler.group)).retries(error)
