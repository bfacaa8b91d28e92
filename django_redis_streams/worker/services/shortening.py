"""Shortens waits after the server's clock went back, so that none lasts longer than it was to: a step at a time."""

from __future__ import annotations

from collections.abc import Sequence

from ...connections import Link
from ...keys import StreamKeys
from ...store.consume.clock import note_jump, shorten

__all__ = ["Shortening"]


class Shortening:
    """Shortens the waits of one stream; `sooner` counts the messages that are due sooner.

    It begins when the server's clock shows `now`, which is `behind` what it showed before by so many ms.

    It keeps to one link. If it is given up half-way, the next promoter begins it anew: what was seen of the clock stays
    on the server until the end.
    """

    def __init__(self, link: Link, keys: StreamKeys, groups: Sequence[str], *, now: int, behind: int) -> None:
        self.behind = behind
        self.sooner = 0
        self._link, self._keys, self._groups, self._began = link, keys, groups, now
        self._steps = shorten(link, keys, groups)

    def step(self) -> bool:
        """Look at some more waits, and return whether those were all. Raises the server's error."""
        more = next(self._steps, None)
        if more is not None:
            self.sooner += more
            return False
        now = note_jump(self._link, self._keys, -self.behind, shortened_since=self._began)
        if now is None:
            return True
        self.behind += self._began - now
        self._began = now
        self._steps = shorten(self._link, self._keys, self._groups)
        return False
