"""The one thread in which a consumer's coroutines reach Django's databases, by `sync_to_async` and the async ORM.

Its connections are looked after around each call, in the thread itself: coroutines take turns in it, and none may
find what another left behind, an open transaction above all.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, ParamSpec, TypeVar

from ...strays import leave_if_stray
from ..databases import Databases
from .thread_calls import GRACE, ThreadCalls
from .threads import Threads

__all__ = ["DatabaseThread"]

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThread(Threads):
    """Starts its thread with the first call: a project without a database never has it."""

    def __init__(self, thread_calls: ThreadCalls, databases: Databases) -> None:
        super().__init__(thread_calls, 1, "coroutines' databases", self._watch)
        self._databases = databases
        self._started = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call it in the thread, when the calls before it have ended."""
        return super().submit(partial(self._looked_after, partial(fn, *args, **kwargs)))

    def trust_nothing(self) -> None:
        """Have connections checked before they are used again, because there may have been a wait."""
        self._databases.before_batch()

    def tidy(self) -> None:
        """Close what CONN_MAX_AGE says is too old, when the calls before have ended; nobody waits for it."""
        if self._started and self._databases.any_open:
            super().submit(self._databases.after_batch)

    def end(self) -> None:
        """Close all connections, and end the thread; where a call in it doesn't return, they end with the process."""
        if self._started:
            closed = super().submit(self._databases.close)
            if wait([closed], GRACE).done:
                closed.result()
        self.shutdown()

    def _watch(self) -> None:
        self._databases.watch()
        self._started = True

    def _looked_after(self, call: Callable[[], Any]) -> Any:
        self._databases.before_message()
        try:
            result = call()
        except BaseException:
            leave_if_stray()
            self._databases.look_for_open()
            self._databases.after_message()
            raise
        leave_if_stray()
        self._databases.after_return()
        return result
