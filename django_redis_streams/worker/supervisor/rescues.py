"""What a supervisor has rescuers do: they are processes of their own, and reach the server in its stead."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from ...store.consume.membership import Membership
from ..system.forking import forked
from ..timing import Backoff
from .child import Orphans
from .rescuer import renew_for, rescue_all

__all__ = ["Rescues"]


@dataclass(slots=True, eq=False)
class _Rescue:
    """What one dead process left."""

    orphans: Sequence[Orphans]

    @property
    def suspicious(self) -> bool:
        """Whether some of it may become suspects."""
        return any(each.suspects or each.overdue or each.stopped for each in self.orphans)


class Rescues:
    """The rescuers at work, and the rescues that are still owed.

    `found_suspects` says that a rescuer has ended that may have written suspects down.
    """

    def __init__(self) -> None:
        self.owed: list[_Rescue] = []
        self.found_suspects = False
        self._at_work: dict[int, _Rescue] = {}
        self._renewing: set[int] = set()
        # A rescuer tries by itself until it is done; this is for one that fails in an unforeseen way.
        self._backoff = Backoff(least=0.1, most=30.0)

    @property
    def any(self) -> bool:
        """Whether a rescue is owed or under way."""
        return bool(self.owed or self._at_work)

    def add(self, orphans: Sequence[Orphans]) -> None:
        """Have settled, written down and handed back what a dead process held."""
        self.owed.append(_Rescue(orphans))

    def renew(self, consumers: Sequence[Membership]) -> None:
        """Have renewed what the consumers of a silent process hold; one at a time."""
        if not self._renewing:
            self._renewing.add(forked(lambda: renew_for(consumers), deaf=True))

    def start(self) -> None:
        """Start rescuers for what is owed, unless it is too soon after one that failed."""
        supervisor = os.getpid()
        while self.owed and self._backoff.over:
            rescue = self.owed.pop(0)
            pid = forked(lambda rescue=rescue: rescue_all(rescue.orphans, supervisor), deaf=True)  # type: ignore[misc]
            self._at_work[pid] = rescue

    def ended(self, pid: int, code: int, *, retry: bool) -> bool:
        """Note that a process ended; return whether it was a rescuer. With `retry`, a failed rescue is owed again."""
        if pid in self._renewing:
            self._renewing.remove(pid)
            return True
        rescue = self._at_work.pop(pid, None)
        if rescue is None:
            return False
        if code == 0:
            self._backoff.reset()
            self.found_suspects = self.found_suspects or rescue.suspicious
        elif retry:
            self._backoff.more()
            self.owed.append(rescue)
        return True

    def give_up(self) -> None:
        """Drop what is owed, and kill the rescuers at work, because the server is away.

        Other consumers claim it once it has been idle for CLAIM_IDLE.
        """
        self.owed.clear()
        for pid in self._at_work:
            os.kill(pid, signal.SIGKILL)
