"""A thread of a process that does one small thing again and again, on a connection of its own."""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from redis.exceptions import ResponseError

from ... import connections
from ...connections import OpenLink
from ...connections.refusals import PartUnreachable
from ...exceptions import ServerUnreachable
from ..log.recurring import log_refusal
from ..log.unreachable import log_reached, log_unreachable
from ..timing import Timing
from .refusals import Refusals

__all__ = ["Service"]

T = TypeVar("T")

# In seconds: how soon at most a step is done again after one that couldn't reach a node of a cluster.
_PART: Final = 0.1


class Service(ABC):
    """`step` is done each `interval` seconds, or when it is woken, until `stop`.

    What goes wrong in it is logged and tried again: soon at first, then ever later, but not later than after
    `longest_wait` seconds. The server counts as gone where a reply isn't there within `reply_within` seconds.
    """

    # By connection: when that was sent which its server has last answered to any service, on the monotonic clock.
    answered: Final[dict[str, float]] = {}
    # By which share an interval is longer or shorter, so that many processes don't do the same at the same moment.
    jitter = 0.2

    def __init__(
        self,
        alias: str,
        stop: threading.Event,
        timing: Timing,
        *,
        longest_wait: float = 5.0,
        reply_within: float | None = None,
    ) -> None:
        self._timing = timing
        self._reply_within = timing.service_timeout if reply_within is None else reply_within
        self.alias = alias
        # Since when a connection is being opened, on the monotonic clock; None where none is. For any thread.
        self.opens_since: float | None = None
        self._stop = stop
        self._woken = threading.Event()
        self._link: OpenLink | None = None
        self._backoff = timing.backoff(least=min(0.1, longest_wait), most=longest_wait)
        # The nodes of a cluster that couldn't be reached since a step was last done whole.
        self._failed_on: set[str] = set()

    @property
    def waits_since(self) -> float | None:
        """Since when it waits for a reply, on the monotonic clock; None where none is owed. For any thread."""
        return None if self._link is None else self._link.waits_since

    def cut(self) -> None:
        """Count a reply that is owed as lost; for any other thread."""
        if self._link is not None:
            self._link.cut()

    @property
    @abstractmethod
    def interval(self) -> float:
        """Seconds from one step to the next."""

    @abstractmethod
    def step(self, link: OpenLink) -> None:
        """Do the service's one small thing.

        It is safe when done twice, and when another process does it at the same time.
        """

    def connected(self) -> None:  # noqa: B027  most have nothing to do then
        """Do what is due after each connecting."""

    def wake(self) -> None:
        """End the wait for the next step; for any thread."""
        self._woken.set()

    def end_wait(self) -> None:
        """End the wait for the next step, or for what a step waits for; for any other thread, once `stop` is set."""
        self.wake()

    def end(self) -> None:  # noqa: B027  as above
        """Do what is left, once, when the service was told to stop."""

    def run(self) -> None:
        """Do the step again and again until told to stop."""
        while not self._stop.is_set():
            self._woken.wait(self.guarded_step())
            self._woken.clear()  # before the next step looks at what it was woken for
        self.end()
        if self._link is not None:
            self._link.close()

    def guarded_step(self) -> float:
        """Do the step, log what goes wrong, and return how many seconds to wait for the next."""
        try:
            self._step()
        except ServerUnreachable as error:
            log_unreachable(self.alias, error)
            self._failed_on.add(error.node)
            # What is on the other nodes of a cluster doesn't wait.
            return max(_PART, self._wait) if isinstance(error, PartUnreachable) else self._backoff.more()
        except ResponseError as error:
            return self._refused(str(error))
        answered = 0.0 if self._link is None else self._link.answered
        self.answered[self.alias] = max(answered, self.answered.get(self.alias, 0.0))
        log_reached(self.alias, answered)
        for node in [*self._failed_on]:
            if self._link is not None and (reached := self._link.answered_by(node)) is not None:
                log_reached(self.alias, reached, node)
                self._failed_on.discard(node)
        self._backoff.reset()
        return self._wait

    @property
    def _wait(self) -> float:
        return self.interval * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311  not a secret

    def _refused(self, error: str) -> float:
        """Log what the server has refused, and return how many seconds to wait for the next try."""
        wait = self._backoff.more()
        self.log_refused(error, wait)
        return wait

    def log_refused(self, error: str, wait: float) -> None:
        """Log what the server has refused, and in how many seconds it is tried again."""
        name = type(self).__name__
        log_refusal(
            (name, self.alias), error, "%s on connection %r failed. The next try is in %.1f s: %r (%d times)",
            name, self.alias, wait, extra={"connection": self.alias},
        )  # fmt: skip

    def each(self, items: Iterable[T], do: Callable[[T], None]) -> None:
        """Do something for each item; what `Refusals` keeps is raised after all are done."""
        refusals = Refusals()
        for item in items:
            with refusals.kept():
                do(item)
        refusals.raise_first()

    def _step(self) -> None:
        """Do the step, and do it again if the server has closed an idle connection just then: that is no outage."""
        try:
            self.step(self._connected())
        except ServerUnreachable as error:
            if not error.was_idle:
                raise
            self.step(self._connected())

    def _connected(self) -> OpenLink:
        if self._link is None or not self._link.usable:
            if self._link is not None:
                self._link.close()
            self._link = self._opened()
            self._link.take_reconnected()
            self.connected()
        elif self._link.take_reconnected():
            self.connected()
        return self._link

    def _opened(self) -> OpenLink:
        self.opens_since = time.monotonic()
        try:
            return connections.open(self.alias, timeout=self._reply_within)
        finally:
            self.opens_since = None
