"""A process of a supervisor, as that sees it: by its shared memory, and by how it ends."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..store.membership import Membership
from .board import Board
from .tallies import Row

__all__ = ["Child", "Remains"]

# A process whose main thread is silent for so long gets no thread on: a handler holds the GIL.
_SILENT = 2.0


@dataclass(frozen=True, slots=True)
class Remains:
    """What one consumer of a dead process leaves, by tokens; all else that it holds it had not begun.

    `suspects` it was running when it died, in the way that `how` tells. `overdue` it was ended for, as they ran
    beyond their TIMEOUT. Of what `stopped` the run doesn't count: it was ended for another's sake, or at a stop.
    """

    membership: Membership
    how: str = ""
    suspects: Sequence[str] = ()
    overdue: Sequence[str] = ()
    stopped: Sequence[str] = ()


@dataclass(slots=True, eq=False)
class Child:
    """A process that runs, or has just ended.

    `end_at` is by when it is to be killed for a handler's TIMEOUT; `killed` whether the supervisor has killed it, so
    that nobody else is to be blamed for it.
    """

    pid: int
    consumers: Sequence[Membership]
    board: Board
    row: Row
    end_at: float = math.inf
    killed: bool = False
    renewed: float = 0.0

    @property
    def timed_out(self) -> bool:
        """Whether it ends for a handler's TIMEOUT."""
        return self.end_at < math.inf

    def is_overdue(self, now: float) -> bool:
        """Whether one of its handlers runs beyond its TIMEOUT."""
        return any(0 < deadline <= now for each in self.board.slots for deadline in each.deadlines)

    def may_be_killed(self, now: float) -> bool:
        """Whether nobody has to be waited for any more: all others have left, or can't get on, or had their time."""
        if now >= self.end_at or self.board.silent > _SILENT:
            return True
        return all(each.left or any(0 < deadline <= now for deadline in each.deadlines) for each in self.board.slots)

    def needs_renewal(self, now: float) -> bool:
        """Whether it has been silent for too long to renew what it holds, and nobody has done that for it lately."""
        interval = min(each.group.claim_idle for each in self.consumers) / 3
        return min(self.board.silent, now - self.renewed) > interval

    def kill(self) -> None:
        """End it now."""
        self.killed = True
        os.kill(self.pid, signal.SIGKILL)

    def ended_well(self, code: int) -> bool:
        """Whether it came to its end, with nothing left to do for others."""
        return code == 0 and self.board.ended_well

    def was_running(self) -> bool:
        """Whether it was running anything when it ended."""
        return any(each.running() for each in self.board.slots)

    def remains(self, how: str) -> list[Remains]:
        """What its consumers leave, when it has ended."""
        now = time.monotonic()
        found = []
        for membership, slots in zip(self.consumers, self.board.slots, strict=True):
            running = slots.running()
            overdue = [token for token, deadline in running if self.timed_out and deadline <= now]
            others = [token for token, _ in running if token not in overdue]
            if self.killed:
                found.append(Remains(membership, how, overdue=overdue, stopped=others))
            else:
                found.append(Remains(membership, how, suspects=others, overdue=overdue))
        return found
