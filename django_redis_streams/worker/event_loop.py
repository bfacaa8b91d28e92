"""The event loop of one consumer: it runs while the consumer waits, for a turn at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from .database_thread import DatabaseThread
from .tell import logger

__all__ = ["EventLoop"]


class EventLoop:
    """A loop for the thread that makes it, and a thread of its own for what its coroutines do with databases.

    Without the second, the coroutines of all consumers of a process would share asgiref's one thread.
    """

    def __init__(self) -> None:
        self.databases = DatabaseThread()
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        # What is set in here is found by all that runs in the loop; each task has a copy.
        self._context = copy_context()
        self._sensitive = ThreadSensitiveContext()
        self._failure: BaseException | None = None
        self._runner.run(self._enter(), context=self._context)

    async def _enter(self) -> None:
        await self._sensitive.__aenter__()  # type: ignore[no-untyped-call]
        SyncToAsync.context_to_thread_executor[self._sensitive] = self.databases

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop itself."""
        return self._loop

    @property
    def running(self) -> bool:
        """Whether it runs right now."""
        return self._loop.is_running()

    def call(self, do: Callable[[], None]) -> None:
        """Call this in the loop, let run what is ready after it, and stop. Raises what `do` raises."""
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

    def stop(self) -> None:
        """Called in the loop: end its turn."""
        self._loop.stop()

    def close(self) -> None:
        """Cancel what handlers left behind, let go of the databases, and close it."""
        try:
            self._runner.close()
        finally:
            self.databases.end()

    def _do(self, do: Callable[[], None]) -> None:
        try:
            do()
        except BaseException as error:  # noqa: BLE001  asyncio would only log it: raised again by `call`
            self._failure = error
        # Not before what has become ready meanwhile had its turn.
        self._loop.call_soon(self._loop.stop)

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            # Handlers' own never get here.
            logger.exception("A task that a handler left behind would have ended the worker")
