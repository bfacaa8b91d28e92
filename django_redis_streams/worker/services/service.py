"""A thread of a process that does one small thing again and again, on a connection of its own."""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TypeVar

from redis.exceptions import ResponseError

from ... import connections
from ...connections import OpenLink
from ...exceptions import ServerUnreachable
from ...store.replies import group_is_gone
from ..log.recurring import log_refusal
from ..log.unreachable import log_reached, log_unreachable
from ..timing import Timing

__all__ = ["Service"]

T = TypeVar("T")


class Service(ABC):
    """`step` is done each `interval` seconds until `stop`; what goes wrong in it is logged and tried again.

    It is tried again soon at first, then ever later, but not later than after `longest_wait` seconds.
    """

    def __init__(self, alias: str, stop: threading.Event, timing: Timing, *, longest_wait: float = 5.0) -> None:
        self._timing = timing
        self._alias = alias
        self._stop = stop
        self._link: OpenLink | None = None
        self._backoff = timing.backoff(least=min(0.1, longest_wait), most=longest_wait)

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

    def end(self) -> None:  # noqa: B027  as above
        """Do what is left, once, when the service was told to stop."""

    def run(self) -> None:
        """Do the step again and again until told to stop."""
        while not self._stop.wait(self.guarded_step()):
            pass
        self.end()
        if self._link is not None:
            self._link.close()

    def guarded_step(self) -> float:
        """Do the step, log what goes wrong, and return how many seconds to wait for the next."""
        try:
            self._step()
        except ServerUnreachable as error:
            log_unreachable(self._alias, error)
            return self._backoff.more()
        except ResponseError as error:
            return self._refused(str(error))
        log_reached(self._alias, 0.0 if self._link is None else self._link.answered)
        self._backoff.reset()
        return self.interval * random.uniform(0.8, 1.2)  # noqa: S311  jitter, not a secret

    def _refused(self, error: str) -> float:
        """Log what the server has refused, and return how many seconds to wait for the next try."""
        wait, name = self._backoff.more(), type(self).__name__
        log_refusal(
            (name, self._alias), error, "%s on connection %r failed. The next try is in %.1f s: %r (%d times)",
            name, self._alias, wait, extra={"connection": self._alias},
        )  # fmt: skip
        return wait

    def each(self, items: Iterable[T], do: Callable[[T], None]) -> None:
        """Do something for each item; a refusal is raised after all are done.

        A group that is gone isn't raised: its consumer makes it again, and reports it.
        """
        refused: ResponseError | None = None
        for item in items:
            try:
                do(item)
            except ResponseError as error:
                refused = refused if group_is_gone(error) else error
        if refused is not None:
            raise refused

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
            self._link = connections.open(self._alias, timeout=self._timing.service_timeout)
            self.connected()
        return self._link
