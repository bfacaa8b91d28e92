"""When to do what nobody waits for: often while something happens, ever more rarely while nothing does."""

from __future__ import annotations

import random
from math import inf

__all__ = ["Chore"]


class Chore:
    """The times of something that is done again and again; all in seconds.

    `activity` is a number that changes with whatever happens. While it does, the chore is done every `often` seconds.
    While it doesn't, each wait is twice as long as the last, up to about `rarely`. Where several processes share the
    chore, that holds for all together. The first time is `first` seconds after `now`, on the monotonic clock.
    """

    def __init__(self, now: float, *, often: float, rarely: float, first: float = 0.0) -> None:
        self._often = often
        self._rarely = max(often, rarely)
        self._soon = self._wait = often
        self._last = now - often + first
        self._activity = -inf

    def due_at(self, activity: float) -> float:
        """Return when it is time, by what has happened since the last time."""
        return self._last + (self._wait if activity == self._activity else self._soon)

    def is_due(self, now: float, activity: float) -> bool:
        """Return whether it is time."""
        return now >= self.due_at(activity)

    def done(self, now: float, activity: float, *, changed: bool = False, share: float = 1.0) -> None:
        """Note that it was done, and whether it has `changed` anything: then more may have to be done soon.

        It is done the more rarely the smaller this process' `share` of the work is.
        """
        happens = changed or activity != self._activity
        self._soon = self._often / share
        longer = min(self._rarely / share, max(self._soon, self._wait) * 2) * random.uniform(1.0, 1.1)  # noqa: S311  jitter, not a secret
        self._wait = self._soon if happens else longer
        self._last, self._activity = now, activity
