"""What a supervisor has wardens do: processes of their own, that reach the server in its stead."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from ...store.consume.membership import Membership
from ..backoff import Patience
from ..system.forking import forked
from .child import Remains
from .rescuer import renew_for, wind_up

__all__ = ["Errands"]


@dataclass(slots=True, eq=False)
class _WindUp:
    """What one dead process left."""

    remains: Sequence[Remains]

    @property
    def suspicious(self) -> bool:
        """Whether some of it may become suspects."""
        return any(each.suspects or each.overdue or each.stopped for each in self.remains)


class Errands:
    """Wardens that are at work, and what is still owed.

    `found_suspects` says that one has ended that may have written suspects down.
    """

    def __init__(self) -> None:
        self.owed: list[_WindUp] = []
        self.found_suspects = False
        self._at_work: dict[int, _WindUp] = {}
        self._renewing: set[int] = set()
        # A warden tries by itself until it is done; this is for one that fails in an unforeseen way.
        self._patience = Patience(least=0.1, most=30.0)

    @property
    def any(self) -> bool:
        """Whether something is left to do that somebody is missing."""
        return bool(self.owed or self._at_work)

    def wind_up(self, remains: Sequence[Remains]) -> None:
        """Have settled, written down and handed back what a dead process held."""
        self.owed.append(_WindUp(remains))

    def renew(self, consumers: Sequence[Membership]) -> None:
        """Have renewed what the consumers of a silent process hold; one at a time."""
        if not self._renewing:
            self._renewing.add(forked(lambda: renew_for(consumers), deaf=True))

    def start(self) -> None:
        """Start wardens for what is owed, unless it is too soon after one that failed."""
        supervisor = os.getpid()
        while self.owed and self._patience.over:
            errand = self.owed.pop(0)
            pid = forked(lambda errand=errand: wind_up(errand.remains, supervisor), deaf=True)  # type: ignore[misc]
            self._at_work[pid] = errand

    def ended(self, pid: int, code: int, *, retry: bool) -> bool:
        """Whether the process that ended was a warden; what it didn't do is done again, with `retry`."""
        if pid in self._renewing:
            self._renewing.remove(pid)
            return True
        errand = self._at_work.pop(pid, None)
        if errand is None:
            return False
        if code == 0:
            self._patience.reset()
            self.found_suspects = self.found_suspects or errand.suspicious
        elif retry:
            self._patience.more()
            self.owed.append(errand)
        return True

    def give_up(self) -> None:
        """The server is away: others claim it when it was idle for CLAIM_IDLE."""
        self.owed.clear()
        for pid in self._at_work:
            os.kill(pid, signal.SIGKILL)
