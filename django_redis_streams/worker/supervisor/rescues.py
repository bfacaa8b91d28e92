"""What a supervisor has rescuers do: they are processes of their own, and reach the server in its stead."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ...store.consume.membership import Membership
from ..system.forking import forked
from ..timing import Backoff
from .child import Orphans
from .rescuer import GAVE_UP, renew_for, rescue_all

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

    `found_suspects` says that a rescuer has ended that may have written suspects down. `given_up` has the pids of dead
    processes whose messages couldn't be handed back before the worker's end.
    """

    def __init__(self) -> None:
        self.owed: list[_Rescue] = []
        self.found_suspects = False
        self.given_up: set[int] = set()
        # For how many seconds rescuers may try at the stop; None before it.
        self._tries: float | None = None
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
            pid = forked(partial(rescue_all, rescue.orphans, supervisor, self._tries))
            self._at_work[pid] = rescue

    def stop(self, tries: float) -> None:
        """Have rescuers that begin from now on try for so many seconds only; those at work, for a moment."""
        self._tries = tries
        for pid in self._at_work:
            os.kill(pid, signal.SIGTERM)

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
        elif code == GAVE_UP and self._tries is not None:
            self._note_given_up(rescue)
        elif retry:
            self._backoff.more()
            self.owed.append(rescue)
        else:
            self._note_given_up(rescue)
        return True

    def _note_given_up(self, rescue: _Rescue) -> None:
        self.given_up.update(each.pid for each in rescue.orphans)

    def give_up(self) -> None:
        """Drop what is owed, and kill the rescuers at work, because the server is away.

        Other consumers claim it once it has been idle for CLAIM_IDLE.
        """
        for rescue in self.owed:
            self._note_given_up(rescue)
        self.owed.clear()
        for pid in self._at_work:
            os.kill(pid, signal.SIGKILL)
