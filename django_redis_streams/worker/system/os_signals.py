"""Waiting for signals and time, without a thread and without a lock.

A handler that takes a lock, as `threading.Event.set` does, deadlocks when the signal comes while the main
thread holds it. So handlers only note the signal, and a pipe wakes the wait
(https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd).
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import ExitStack
from types import FrameType
from typing import Any, Self

from .. import strays

__all__ = ["Signals"]


class Signals:
    """Notes the given signals while it is entered; `wait` tells which came.

    A process that a handler forks meanwhile has none of this: what it inherits is put back as it was found.
    """

    def __init__(self, *wanted: signal.Signals) -> None:
        self._wanted = wanted
        self._came: list[int] = []
        self._before: dict[int, Any] = {}
        self._strays = ExitStack()

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()  # programs that are started don't inherit them
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for each in self._wanted:
            self._before[each] = signal.signal(each, self._note)
        self._strays.enter_context(strays.prepared(self._forget))
        # A forked process starts with these blocked: a signal that came before it could be noted comes now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._wanted)
        return self

    def __exit__(self, *_: object) -> None:
        self._strays.close()
        self._put_back(self._wakeup_before)

    def _forget(self) -> None:
        """In a stray: restore what was before, but no wake-up by signals, because that pipe is its parent's, too."""
        self._put_back(-1)

    def _put_back(self, wakeup: int) -> None:
        signal.set_wakeup_fd(wakeup)
        for each, handler in self._before.items():
            signal.signal(each, handler)
        os.close(self._reader)
        os.close(self._writer)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._came.append(number)

    def wait(self, timeout: float) -> list[int]:
        """Return the signals that came since the last call; wait up to `timeout` seconds for the first."""
        if not self._came and select.select([self._reader], [], [], timeout)[0]:
            os.read(self._reader, 4096)
        came, self._came = self._came, []
        return came
