"""The event loop of one consumer: it runs while the consumer waits, for a turn at a time."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any, NoReturn

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from ...log.lines import logger
from ...strays import is_stray, leave
from ..databases import Databases
from .database_thread import DatabaseThread
from .thread_calls import GRACE, ThreadCalls
from .threads import THREADS, Threads

__all__ = ["EventLoop"]


_NO_LOOP = (
    "A process that was forked in a coroutine has no event loop to wait in: it ends here. (os.fork, multiprocessing)"
)

_Task = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class EventLoop:
    """A loop for the thread that makes it, and a thread of its own for what its coroutines do with databases.

    Without that thread, the coroutines of all consumers of a process would share asgiref's one thread. `task`, called
    in the loop, makes a task of a coroutine. From Python 3.12 on it begins at once, and has ended if it never waits.
    """

    def __init__(self, databases: Databases, of_databases: ThreadCalls, of_others: ThreadCalls) -> None:
        self.databases = DatabaseThread(of_databases, databases)
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        self._loop.set_default_executor(Threads(of_others, THREADS, "coroutines' threads"))
        self.task = _begins_tasks(self._loop)
        # All that runs in the loop finds what is set in this context; each task has a copy.
        self._context = copy_context()
        self._sensitive = ThreadSensitiveContext()
        self._failure: BaseException | None = None
        self._runner.run(self._enter(), context=self._context)

    async def _enter(self) -> None:
        await self._sensitive.__aenter__()  # type: ignore[no-untyped-call]
        SyncToAsync.context_to_thread_executor[self._sensitive] = self.databases

    @property
    def running(self) -> bool:
        """Whether it runs right now."""
        return self._loop.is_running()

    def call(self, do: Callable[[], None]) -> None:
        """Call `do` in the loop, let what is ready after it run, and stop. Raises what `do` raises."""
        self._loop.call_soon(self._do, do, context=self._context)
        self._run()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def wait(self, seconds: float, fd: int | None = None) -> None:
        """Run for so long, or until the file descriptor can be read or `stop` is called."""
        timer = self._loop.call_later(seconds, self._loop.stop)
        if fd is not None:
            self._loop.add_reader(fd, self._loop.stop)
        try:
            self._run()
        finally:
            timer.cancel()
            if fd is not None:
                self._loop.remove_reader(fd)

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Call this in the loop, once, when it runs at that time or after it."""
        self._loop.call_later(seconds, do, context=self._context)

    def current_task(self) -> asyncio.Task[Any] | None:
        """Return the task that takes a step right now, for any thread; None where a callback runs, or nothing."""
        return asyncio.current_task(self._loop)

    def stop(self) -> None:
        """End the loop's turn; called in the loop."""
        self._loop.stop()

    def disown(self) -> None:
        """In a forked child: stop the loop, and give nothing in it another turn."""
        # asyncio's loops take the next callback from here. In another kind of loop, what is ready has one more turn.
        if hasattr(self._loop, "_ready"):
            self._loop._ready = _NoTurns()  # noqa: SLF001  there is no other way to keep them from it
        self._loop.stop()

    def close(self) -> None:
        """Cancel what handlers left behind, let go of the databases, and close it. What doesn't end is left."""
        self._loop.call_later(2 * GRACE, self._loop.stop)
        try:
            self._runner.close()
        except RuntimeError as error:  # stopped before that
            logger.warning("Tasks that handlers left behind don't end, although they were cancelled: %r", str(error))
        finally:
            self.databases.end()

    def _do(self, do: Callable[[], None]) -> None:
        try:
            do()
        except BaseException as error:  # noqa: BLE001  asyncio would only log it: raised again by `call`
            self._failure = error
        # What has become ready meanwhile has its turn before that.
        self._loop.call_soon(self._loop.stop)

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            # Those that handlers raise never get here.
            logger.exception("A task that a handler left behind would have ended the worker")
        finally:
            if is_stray():
                leave(SystemExit(_NO_LOOP))


class _NoTurns(deque[Any]):
    """The ready callbacks of a loop in a forked child: the next turn ends the process instead."""

    def popleft(self) -> NoReturn:
        leave(SystemExit(_NO_LOOP))


def _begins_tasks(loop: asyncio.AbstractEventLoop) -> _Task:
    if sys.version_info >= (3, 12):
        return partial(asyncio.Task, loop=loop, eager_start=True)
    return loop.create_task
