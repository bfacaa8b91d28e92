"""Shortens waits after the server's clock went back, so that none lasts longer than it was to: a step at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...conf import GroupConfig, StreamConfig
from ...connections import Link
from ...store.consume.clock import note_jump, reset_idle, shorten
from ...store.consume.membership import Membership

__all__ = ["Shortening"]


class Shortening:
    """Shortens the waits of one stream.

    `sooner` counts the messages that are due sooner, `claimable` the pending ones that may be claimed sooner. It begins
    when the server's clock shows `now`, which is `behind` what it showed before by so many ms.

    It keeps to one link. If it is given up half-way, the next promoter begins it anew: what was seen of the clock stays
    on the server until the end.
    """

    def __init__(self, link: Link, stream: StreamConfig, groups: Sequence[str], *, now: int, behind: int) -> None:
        self.behind = behind
        self.sooner = 0
        self.claimable = 0
        self._link, self._stream, self._groups, self._began = link, stream, groups, now
        self._steps = self._all_steps()

    def step(self) -> bool:
        """Look at some more waits, and return whether those were all. Raises the server's error."""
        for _ in self._steps:
            return False
        now = note_jump(self._link, self._stream.keys, -self.behind, shortened_since=self._began)
        if now is None:
            return True
        self.behind += self._began - now
        self._began = now
        self._steps = self._all_steps()
        return False

    def _all_steps(self) -> Iterator[None]:
        for sooner in shorten(self._link, self._stream.keys, self._groups):
            self.sooner += sooner
            yield
        for group in self._groups:
            membership = Membership(self._stream, self._stream.groups.get(group) or GroupConfig(name=group), "")
            for key in membership.sources:
                for claimable in reset_idle(self._link, self._stream.keys, key, group, membership.claim_idle_ms):
                    self.claimable += claimable
                    yield
