"""What a supervisor has rescuers do: they are processes of their own, and reach the server in its stead.

They also run receivers of signals, which may hang: what waits for a rescue waits no longer than until the rescuer has
handed back all.
"""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from ...store.consume.membership import Membership
from ..log.lines import logger
from ..shared.counters import ConsumerCounters
from ..system.forking import forked
from ..timing import DEFAULT_TIMING, Backoff, Timing
from .child import Orphans
from .rescuer import GAVE_UP, renew_for, rescue_all

__all__ = ["Rescues"]


@dataclass(slots=True, eq=False)
class _Rescue:
    """What one dead process left on one server.

    `done_at` is when the supervisor saw that the rescuer has handed back all.
    """

    orphans: Sequence[Orphans]
    done_at: float | None = None
    killed: bool = False
    # Memory that is shared with the rescuer.
    _done: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 1))

    @property
    def done(self) -> bool:
        """Whether the rescuer has handed back all."""
        return self._done[0] == 1

    def finish(self) -> None:
        """Note that all was handed back; for the rescuer."""
        self._done[0] = 1

    def run(self, supervisor: int, tries: float | None) -> int:
        """Rescue, in a process of its own, and return the exit code."""
        return rescue_all(self.orphans, supervisor, tries, self.finish)

    @property
    def suspicious(self) -> bool:
        """Whether some of it may become suspects."""
        return any(each.suspects or each.overdue or each.stopped for each in self.orphans)


class Rescues:
    """The rescuers at work, and the rescues that are still owed.

    `found_suspects` says that a rescuer has handed back all that may have written suspects down. `add_counted` is
    called with what it has counted then. `given_up` has the pids of dead processes whose messages couldn't be handed
    back before the worker's end.
    """

    def __init__(
        self, add_counted: Callable[[ConsumerCounters], None] = lambda _: None, *, timing: Timing = DEFAULT_TIMING
    ) -> None:
        self._add_counted = add_counted
        self._timing = timing
        self.owed: list[_Rescue] = []
        self.found_suspects = False
        self.given_up: set[int] = set()
        # For how many seconds rescuers may try at the stop; None before it.
        self._tries: float | None = None
        self._at_work: dict[int, _Rescue] = {}
        # The aliases of connections by the pids of those that renew there.
        self._renewing: dict[int, str] = {}
        # A rescuer tries by itself until it is done; this is for one that fails in an unforeseen way.
        self._backoff = Backoff(least=0.1, most=30.0)

    @property
    def any(self) -> bool:
        """Whether a rescue is owed or under way."""
        return bool(self.owed or self._at_work)

    @property
    def urgent(self) -> bool:
        """Whether messages wait for a rescue."""
        return bool(self.owed) or any(each.done_at is None for each in self._at_work.values())

    def add(self, orphans: Sequence[Orphans]) -> None:
        """Have settled, written down and handed back what a dead process held.

        Each connection has a rescuer of its own: what is on a server that is well doesn't wait for one that isn't.
        """
        by_connection: dict[str, list[Orphans]] = {}
        for each in orphans:
            by_connection.setdefault(each.membership.stream.connection, []).append(each)
        self.owed += map(_Rescue, by_connection.values())

    def renew(self, consumers: Sequence[Membership]) -> None:
        """Have renewed what the consumers of a silent process hold; on each connection one at a time."""
        for alias in {each.stream.connection for each in consumers} - {*self._renewing.values()}:
            silent = [each for each in consumers if each.stream.connection == alias]
            self._renewing[forked(partial(renew_for, silent), deaf=True)] = alias

    def end_renewing(self) -> None:
        """Kill those who still renew: nothing is left to renew it for, and the worker's output would stay open."""
        for pid in self._renewing:
            os.kill(pid, signal.SIGKILL)

    def start(self) -> None:
        """Start rescuers for what is owed, unless it is too soon after one that failed."""
        supervisor = os.getpid()
        while self.owed and self._backoff.over:
            rescue = self.owed.pop(0)
            pid = forked(partial(rescue.run, supervisor, self._tries))
            self._at_work[pid] = rescue

    def stop(self, tries: float) -> None:
        """Have rescuers that begin from now on try for so many seconds only; those at work, for a moment."""
        self._tries = tries
        for pid in self._at_work:
            os.kill(pid, signal.SIGTERM)

    def look(self) -> None:
        """See which rescuers have handed back all, and end those whose receivers of signals don't return."""
        now = time.monotonic()
        for pid, rescue in self._at_work.items():
            self._look_at(rescue, now)
            if rescue.done_at is not None and now - rescue.done_at > self._timing.telling:
                self._kill(pid, rescue)

    def _look_at(self, rescue: _Rescue, now: float) -> None:
        if rescue.done and rescue.done_at is None:
            rescue.done_at = now
            self._backoff.reset()
            self.found_suspects = self.found_suspects or rescue.suspicious
            for each in rescue.orphans:
                self._add_counted(each.counters)

    def _kill(self, pid: int, rescue: _Rescue) -> None:
        if rescue.done and not rescue.killed:
            logger.error(
                "Receivers of signals didn't return in process %d, which told them what a process that has ended was "
                "running. It is killed, and what they weren't told is lost. Give them time-outs.", pid,
            )  # fmt: skip
        rescue.killed = True
        os.kill(pid, signal.SIGKILL)

    def ended(self, pid: int, code: int, *, retry: bool) -> bool:
        """Note that a process ended; return whether it was a rescuer. With `retry`, a failed rescue is owed again."""
        if pid in self._renewing:
            del self._renewing[pid]
            return True
        rescue = self._at_work.pop(pid, None)
        if rescue is None:
            return False
        self._look_at(rescue, time.monotonic())
        if rescue.done:
            return True
        if code == GAVE_UP and self._tries is not None:
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
        for pid, rescue in self._at_work.items():
            self._kill(pid, rescue)
