"""Starts the processes of a worker, restarts those that die, and ends them.

It has neither threads nor connections, ever: so it can fork at any time, and nothing that happens to a
server or in a handler can hold it up.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field

from django.db import connections as databases

from ..store.membership import Membership
from .board import Board
from .exporter import Exporter
from .forking import NOTED, ended_how, forked
from .patience import Patience
from .plan import Plan, memberships, new_random_part
from .process import Process
from .signals import Signals
from .tallies import Row, Tallies
from .tell import logger
from .warden import hand_back_all

__all__ = ["Supervisor"]

_TICK = 0.5
# After the last process has ended, wardens have this long to hand back what those held.
_WARDENS_GRACE = 10.0


@dataclass(slots=True)
class _Place:
    """One of the processes that there should be."""

    index: int
    patience: Patience = field(default_factory=lambda: Patience(least=0.1, most=30.0))
    pid: int | None = None
    consumers: list[Membership] = field(default_factory=list)
    board: Board | None = None
    row: Row | None = None
    done: bool = False


class Supervisor:
    """Runs a plan in the calling thread, which must be the main one."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tallies = Tallies(plan.places, plan.processes)
        self._exporter = Exporter(plan.listening, self._tallies) if plan.listening else None
        self._places = [_Place(index) for index in range(plan.processes)]
        self._wardens: dict[int, list[Membership]] = {}
        self._owed: list[list[Membership]] = []
        # A warden tries by itself until it is done; this is for one that fails in an unforeseen way.
        self._wardens_patience = Patience(least=0.1, most=30.0)
        self._deadline: float | None = None
        self._killed = False
        self._wardens_deadline: float | None = None
        self._clean = True

    def run(self) -> int:
        """Work until a signal ends it or all is done. The exit code: 1 where a process didn't end well at the stop."""
        # A forked process must not share a database connection with its parent.
        databases.close_all()
        with Signals(*NOTED) as signals:
            while not self._finished():
                self._start_missing()
                for number in signals.wait(self._pause()):
                    if number != signal.SIGCHLD:
                        self._stop()
                self._reap()
                self._enforce_deadlines()
        if self._exporter:
            self._exporter.end()
        return 0 if self._clean else 1

    @property
    def _stopping(self) -> bool:
        return self._deadline is not None

    def _finished(self) -> bool:
        running = any(place.pid is not None for place in self._places)
        waiting = not self._stopping and not all(place.done for place in self._places)
        return not (running or waiting or self._wardens or self._owed)

    def _pause(self) -> float:
        # A restart or a warden that is due shouldn't wait for the tick.
        return 0.05 if self._stopping or self._owed or any(self._may_start(each) for each in self._places) else _TICK

    # ------------------------------------------------------------ starting

    def _may_start(self, place: _Place) -> bool:
        return place.pid is None and not place.done and not self._stopping

    def _start_missing(self) -> None:
        self._tallies.beat(stopping=self._stopping)
        if self._exporter:
            self._exporter.start_if_missing()
        for place in self._places:
            if self._may_start(place) and place.patience.over:
                self._start(place)
        supervisor = os.getpid()
        while self._owed and self._wardens_patience.over:
            dead = self._owed.pop()
            self._wardens[forked(lambda dead=dead: hand_back_all(dead, supervisor))] = dead  # type: ignore[misc]

    def _start(self, place: _Place) -> None:
        random_part, supervisor = new_random_part(), os.getpid()
        place.board = board = Board(self._plan.places)
        place.row = row = self._tallies.take()
        place.pid = forked(lambda: Process(self._plan, random_part, board, supervisor, row.tallies).run())
        place.consumers = memberships(self._plan, place.pid, random_part)

    # ------------------------------------------------------------ ending

    def _stop(self) -> None:
        """The first time: let handlers finish. The second: don't."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._plan.shutdown_timeout
            self._signal_all(signal.SIGTERM)
        else:
            self._deadline = time.monotonic()

    def _signal_all(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.pid is not None:
                os.kill(place.pid, number)

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline and not self._killed:
            self._killed = True
            if any(place.pid for place in self._places):
                logger.error("Handlers didn't finish in time: their processes are killed, what they held goes back.")
            self._signal_all(signal.SIGKILL)
        if self._stopping and not any(place.pid for place in self._places):
            self._wardens_deadline = self._wardens_deadline or now + _WARDENS_GRACE
            if now >= self._wardens_deadline:
                self._give_up_wardens()

    def _give_up_wardens(self) -> None:
        """The server is away: others claim it when it was idle for CLAIM_IDLE."""
        self._owed.clear()
        for pid in self._wardens:
            os.kill(pid, signal.SIGKILL)

    # ------------------------------------------------------------ those that ended

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, code: int) -> None:
        if self._exporter and self._exporter.ended(pid, code):
            return
        if pid in self._wardens:
            dead = self._wardens.pop(pid)
            if code == 0:
                self._wardens_patience.reset()
            elif self._wardens_deadline is None:
                self._wardens_patience.more()
                self._owed.append(dead)
            return
        for place in self._places:
            if place.pid == pid:
                self._process_ended(place, code)

    def _process_ended(self, place: _Place, code: int) -> None:
        pid, place.pid = place.pid, None
        if place.row:
            place.row.end()
        if code == 0 and not self._stopping and place.board and place.board.left_full:
            place.patience.reset()
            return
        if code == 0 and (self._stopping or self._plan.ends_by_itself):
            place.done = self._plan.ends_by_itself
            return
        # One that is replaced is mended; one that didn't end well at the stop isn't.
        self._clean = self._clean and not self._stopping
        self._owed.append(place.consumers)
        if place.board and place.board.settled:
            place.patience.reset()
        wait = place.patience.more()
        again = "" if self._stopping else f"; another starts in {wait:.1f} s"
        logger.error("Process %d %s%s. What it held is handed back.", pid, ended_how(code), again)
