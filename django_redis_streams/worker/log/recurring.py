"""What would be logged with each message: of each cause it is one line a second, with a count."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from .lines import logger

__all__ = ["Recurring", "log_refusal", "refusals"]

# In seconds: of each cause at most one line.
_EACH: Final = 1.0


class Recurring:
    """Counts what recurs, by its cause, and logs the counts; for any thread.

    `each` is how many seconds are at least between two lines of a cause.
    """

    def __init__(self) -> None:
        self.each = _EACH
        self._lock = threading.Lock()
        self._causes: dict[tuple[str, ...], tuple[int, Callable[[int], object]]] = {}
        self._next = 0.0

    def add(self, subject: Sequence[str], error: str, count: int, log: Callable[[int], object]) -> None:
        """Count an error of a subject `count` times more. `log_due` calls the latest `log` of a cause with the number.

        Errors that differ only in numbers, such as those of processes and transactions, or after their first lines,
        have one cause.
        """
        cause = (*subject, re.sub(r"\d+", "", error.partition("\n")[0]))
        with self._lock:
            before, _ = self._causes.get(cause, (0, None))
            self._causes[cause] = before + count, log

    def log_due(self, *, now: bool = False) -> None:
        """Log what was counted, unless the last lines are younger than `each`; with `now`, in any case."""
        if not self._causes or not (now or time.monotonic() >= self._next):
            return
        with self._lock:
            causes, self._causes = self._causes, {}
            self._next = time.monotonic() + self.each
        for count, log in causes.values():
            log(count)

    def forget(self) -> None:
        """Forget what was counted, and when it was logged last."""
        with self._lock:
            self._causes.clear()
            self._next = 0.0


# What servers refuse this process.
refusals: Final = Recurring()


def log_refusal(
    subject: Sequence[str], error: str, text: str, *args: object, extra: Mapping[str, object] | None = None
) -> None:
    """Log what a server has refused, in one line a second for each cause.

    `text` takes `args`, then the error, and at last how many times it came since the line before.
    """
    refusals.add(subject, error, 1, lambda count: logger.error(text, *args, error, count, extra=extra))
    refusals.log_due()
