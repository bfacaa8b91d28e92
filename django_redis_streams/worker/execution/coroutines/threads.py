"""The threads that do the blocking work of a consumer's coroutines, by `asyncio.to_thread` and its like."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ...log.lines import logger
from .thread_calls import GRACE, ThreadCalls

__all__ = ["THREADS", "Threads"]

P = ParamSpec("P")
T = TypeVar("T")

# As many as asyncio has by default.
THREADS = min(32, (os.cpu_count() or 1) + 4)


class Threads(ThreadPoolExecutor):
    """At most so many threads; `thread_calls` hears of each call.

    Its end waits only a moment for calls that don't return.
    """

    def __init__(
        self, thread_calls: ThreadCalls, threads: int, name: str, begin: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(max_workers=threads, thread_name_prefix=name, initializer=begin)
        self._thread_calls = thread_calls
        self._name = name

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call it in a thread, when one is free."""
        call = self._thread_calls.ask()

        def in_turn() -> T:
            self._thread_calls.begin(call)
            return fn(*args, **kwargs)

        future = super().submit(in_turn)
        future.add_done_callback(lambda _: self._thread_calls.end(call))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more; with `wait`, give what runs a moment to end. What goes on then ends with the process."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        until = time.monotonic() + GRACE
        for thread in self._threads if wait else ():
            thread.join(max(0.0, until - time.monotonic()))
        if wait and (left := list(self._thread_calls.running)):
            of = ", ".join(sorted({repr(call.owner.history().id) for call in left if call.owner is not None}))
            logger.warning(
                "Calls that coroutines have made in threads (%s) don't return: %d, of %s. The worker waits no longer. "
                "They end with the process.",
                self._name, len(left), of or "tasks of the worker",
            )  # fmt: skip
