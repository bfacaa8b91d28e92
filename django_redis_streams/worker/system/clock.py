"""Tells a jump of a server's clock from time that has passed, by this host's monotonic clock, which never jumps."""

from __future__ import annotations

import time

__all__ = ["ServerClock"]


class ServerClock:
    """What a server's clock shows, as far as this process has looked. One thread looks, any may ask."""

    def __init__(self) -> None:
        # What the clock showed in ms, and between which moments of the monotonic clock.
        self._seen: tuple[int, float, float] | None = None

    def saw(self, shown: int, asked: float, answered: float) -> int:
        """Note that the clock showed `shown` ms, and return by how many ms it has jumped since the last look, at least.

        A negative jump is one back. The clock may have been read at any moment from `asked` to `answered`.
        """
        seen, self._seen = self._seen, (shown, asked, answered)
        if seen is None:
            return 0
        before, asked_before, answered_before = seen
        ahead = shown - before - round((answered - asked_before) * 1000)
        back = shown - before - round((asked - answered_before) * 1000)
        return ahead if ahead > 0 else min(0, back)

    def at_the_latest(self) -> int | None:
        """Return the latest time in ms that the clock can show now unless it jumped ahead; None before any look."""
        if self._seen is None:
            return None
        shown, asked, _ = self._seen
        return shown + round((time.monotonic() - asked) * 1000)
