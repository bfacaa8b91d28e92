"""What a consumer has in flight: coroutines that run on while it waits for the server, and whose outcomes it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ...connections import OpenLink
from ...store.consume.delivery import Delivery
from ..execution.coroutines.coroutines import LATEST
from ..execution.executor import Executor

__all__ = ["InFlight"]


class InFlight:
    """For the thread of one consumer.

    `may_run` is asked right before each message begins. `ended` is called with the messages that have ended, with their
    outcomes, and the seconds that each took, even if there are none.
    """

    def __init__(
        self,
        executor: Executor,
        stop: threading.Event,
        may_run: Callable[[Delivery], bool],
        ended: Callable[[Sequence[Delivery], Sequence[float]], None],
    ) -> None:
        self._executor = executor
        self._coroutines = executor.coroutines
        self._stop = stop
        self._may_run = may_run
        self._ended = ended

    @property
    def busy(self) -> bool:
        """Whether anything is in flight, waits for room, or has ended and wasn't reported yet."""
        return self._coroutines.busy

    @property
    def begun(self) -> bool:
        """Whether coroutines, or what they left behind, have to run while the consumer waits."""
        return self._coroutines.begun

    def fits(self, count: int) -> int:
        """How many messages may be read where `count` are wanted: 0 while as many are in flight as may be."""
        bounded = self.busy or self._executor.runs_coroutines
        return min(count, self._coroutines.room) if bounded else count

    def advance(self) -> None:
        """Begin what there is room for, and report what has ended: in time, however many begin."""
        while self.busy:
            more = self._coroutines.begin(self._may_run)
            self._ended(*self._coroutines.take())
            if not more:
                return

    def wait_for_one(self) -> None:
        """Let coroutines run until one has ended, or until earlier outcomes are due to be settled."""
        self._coroutines.wait(LATEST, until_ended=True)
        self.advance()

    def wait_for_reply(self, link: OpenLink, seconds: float) -> None:
        """Let coroutines run until a reply comes, at most so long; if there are none, the link itself waits for it."""
        if self._coroutines.begun:
            self._coroutines.wait(seconds, fd=link.fileno())
            self.advance()

    def pause(self, seconds: float) -> None:
        """Wait so long, or until the consumer is to stop; coroutines run meanwhile."""
        until = time.monotonic() + seconds
        while self._coroutines.begun and not self._stop.is_set() and (left := until - time.monotonic()) > 0:
            self._coroutines.wait(min(left, LATEST))
        self._stop.wait(max(0.0, until - time.monotonic()))

    def finish(self) -> None:
        """Let coroutines run until all have ended."""
        while self.busy:
            self.wait_for_one()
