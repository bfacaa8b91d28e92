"""Starts the processes of a worker, restarts those that die, and ends them.

It has neither threads nor connections, ever: so it can fork at any time, and nothing that happens to a
server or in a handler can hold it up. It alone can end a handler that doesn't return.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..http.exporter import Exporter
from ..log.lines import logger
from ..options import Options, memberships, new_random_part
from ..process import Assignment, work
from ..shared.counters import WorkerCounters
from ..shared.joined import Joined
from ..shared.scoreboard import Scoreboard
from ..system.forking import NOTED, ended_how, forked, own, waited
from ..system.leftovers import Leftovers
from ..system.os_signals import Signals
from ..timing import Backoff
from .autoreload import Autoreload
from .before_forking import close_what_is_open, warn_of_what_stays_open
from .child import Child
from .common_memory import common_memory
from .left_behind import LeftBehind
from .rescues import Rescues

__all__ = ["Supervisor"]


@dataclass(slots=True)
class _ProcessSlot:
    """A process that there should be: one that works, or the quarantine."""

    quarantine: bool = False
    backoff: Backoff = field(default_factory=lambda: Backoff(least=0.1, most=30.0))
    child: Child | None = None
    done: bool = False


class Supervisor:
    """Runs a worker with these options in the calling thread, which must be the main one."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._timing = options.timing
        self._counters = WorkerCounters(options.targets, options.processes)
        self._joined = Joined([f"{stream.name}:{group.name}" for stream, group in options.groups])
        self._exporter = Exporter(options.listening, self._counters) if options.listening else None
        self._process_slots = [_ProcessSlot() for _ in range(options.processes)]
        self._quarantine = _ProcessSlot(quarantine=True)
        # Processes that were replaced for a handler's TIMEOUT and haven't ended yet.
        self._replaced: list[Child] = []
        self._autoreload = Autoreload() if options.reload else None
        self._rescues = Rescues(self._counters.add_rescued, timing=options.timing)
        self._left_behind = LeftBehind()
        # Whether a second signal has come.
        self._hurries = False
        self._leftovers = Leftovers()
        self._deadline: float | None = None
        self._killed = False
        self._looked = time.monotonic()
        self._judges_from = 0.0
        self._rescuers_deadline: float | None = None
        self._clean = True
        self.begins_anew = False
        self.given_up = ""

    def run(self, ready: Callable[[], object] = lambda: None) -> int:
        """Work until a signal comes or all is done; return the exit code: 1 if a process didn't end well at the stop.

        `ready` is called when a signal would be heard, before the first process is started.

        If it has ended because the configuration can't work, `given_up` says why. If it has ended because code was
        changed, `begins_anew` is set, and the caller is to start the command again.
        """
        with Signals(*NOTED) as signals:
            ready()
            close_what_is_open()
            warn_of_what_stays_open()
            self._leftovers.adopt()
            with common_memory():
                self._supervise(signals)
        if self._exporter:
            self._exporter.end()
        if self._autoreload:
            self._autoreload.end()
        self._rescues.end_renewing()
        self._leftovers.end_all(own())
        self._log_left_behind()
        return 0 if self._clean else 1

    def _supervise(self, signals: Signals) -> None:
        while not self._finished():
            self._leftovers.look(own())
            self._start_missing()
            for number in signals.wait(self._pause()):
                if number != signal.SIGCHLD:
                    self.begins_anew = False
                    self._stop()
            self._reap()
            self._enforce_timeouts()
            self._enforce_deadlines()
            self._rescues.look()
            self._leftovers.end_late()

    @property
    def _stopping(self) -> bool:
        return self._deadline is not None

    @property
    def _all_process_slots(self) -> list[_ProcessSlot]:
        return [*self._process_slots, self._quarantine]

    def _children(self) -> list[Child]:
        return [
            *self._replaced,
            *(process_slot.child for process_slot in self._all_process_slots if process_slot.child is not None),
        ]

    def _finished(self) -> bool:
        waiting = not self._stopping and not all(process_slot.done for process_slot in self._process_slots)
        return not (self._children() or waiting or self._rescues.any)

    def _pause(self) -> float:
        # A restart or a rescuer that is due shouldn't wait for the tick, nor a quarantine for what a rescuer finds.
        hurry = bool(self._stopping or self._replaced or self._rescues.urgent or self._leftovers.any)
        hurry = hurry or any(self._may_start(each) for each in self._process_slots)
        return self._timing.supervise_closely if hurry else self._timing.supervise

    # ------------------------------------------------------------ starting

    def _may_start(self, process_slot: _ProcessSlot) -> bool:
        return process_slot.child is None and not process_slot.done and not self._stopping

    def _start_missing(self) -> None:
        self._counters.beat(stopping=self._stopping)
        if self._exporter:
            self._exporter.start_if_missing()
        self._look_at_code()
        for process_slot in self._process_slots:
            if self._may_start(process_slot) and process_slot.backoff.over:
                self._start(process_slot, self._options)
        if self._may_quarantine and self._sees_suspects and self._quarantine.backoff.over:
            self._rescues.found_suspects = False
            self._forget_suspects()
            self._start(self._quarantine, self._options.for_quarantine)
        self._rescues.start()

    def _look_at_code(self) -> None:
        if self._autoreload is None or self._stopping:
            return
        if self._autoreload.ready:
            logger.info("Code was changed. The worker finishes what it runs, and starts again.")
            self.begins_anew = True
            self._stop()
        else:
            self._autoreload.look()

    @property
    def _may_quarantine(self) -> bool:
        return self._may_start(self._quarantine) and not all(process_slot.done for process_slot in self._process_slots)

    @property
    def _sees_suspects(self) -> bool:
        """Whether there are suspects, by what a rescuer did here, or what a process saw on the server."""
        if self._rescues.found_suspects:
            return True
        return any(
            process_slot.child.scoreboard.sees_suspects
            for process_slot in self._process_slots
            if process_slot.child is not None
        )

    def _forget_suspects(self) -> None:
        """Forget the suspects that processes saw and that are looked after; those that are left will be seen again."""
        for child in self._children():
            child.scoreboard.forget_suspects()

    def _start(self, process_slot: _ProcessSlot, options: Options) -> None:
        counters = self._counters.take(quarantine=process_slot.quarantine)
        assignment = Assignment(
            options=options,
            supervisor=os.getpid(),
            random_part=new_random_part(),
            scoreboard=Scoreboard(options.targets),
            counters=counters.active,
            joined=self._joined,
            quarantine=process_slot.quarantine,
        )
        pid = forked(lambda: work(assignment))
        consumers = memberships(options, pid, assignment.random_part)
        process_slot.child = Child(pid, consumers, assignment.scoreboard, counters, alone=process_slot.quarantine)

    # ------------------------------------------------------------ ending

    def _stop(self) -> None:
        """Let handlers finish at the first call; at the second, end without waiting for them."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._options.shutdown_timeout
            for child in self._children():
                os.kill(child.pid, signal.SIGTERM)
            self._rescues.stop(self._timing.last_tries)
            return
        self._rescues.stop(0.0)
        if not self._children() or self._hurries:
            self._rescues.give_up()
        self._hurries = True
        self._deadline = time.monotonic()

    def _give_up(self, why: str) -> None:
        """End the worker, because what ended a process would end the next one too.

        Only a change of the configuration can mend that.
        """
        if not self.given_up:
            logger.critical("The worker ends, because its configuration can't work: %s", why)
            self.given_up = why
        self.begins_anew = self._clean = False
        if not self._stopping:
            self._stop()

    def _enforce_timeouts(self) -> None:
        """End processes whose handlers run for too long, and renew what a process holds that can't do so itself.

        A process that is ended gets a replacement, and its other consumers get time to finish what they run. A process
        isn't ended for being silent.
        """
        now = time.monotonic()
        if now - self._looked > self._timing.awake:
            self._judges_from = now + self._timing.awake
        self._looked = now
        if now >= self._judges_from:
            self._replace_overdue(now)
        for child in self._replaced:
            if child.killed_at is None and child.problem(now) and child.may_be_killed(now):
                child.kill()
        for child in self._children():
            if child.needs_renewal(now):
                child.renewed = now
                self._rescues.renew(child.consumers)

    def _replace_overdue(self, now: float) -> None:
        for process_slot in self._all_process_slots:
            child = process_slot.child
            if child is not None and not child.timed_out and (problem := child.problem(now)):
                child.end_at = now if process_slot.quarantine else now + self._options.shutdown_timeout
                logger.error("Process %d %s. Another process replaces it.", child.pid, problem)
                os.kill(child.pid, signal.SIGTERM)
                self._replaced.append(child)
                process_slot.child = None

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        children = self._children()
        if self._deadline is not None and now >= self._deadline and not self._killed:
            self._killed = True
            self._log_kill(children)
            for child in children:
                child.kill()
        if self._stopping and not children:
            grace = self._timing.rescuers_haste if self._hurries else self._timing.rescuers_grace
            self._rescuers_deadline = self._rescuers_deadline or now + grace
            if now >= self._rescuers_deadline:
                self._rescues.give_up()
        elif (
            self._quarantine.child
            and not self._stopping
            and all(process_slot.done for process_slot in self._process_slots)
        ):
            # A drained process has seen that no suspect is left. Where --max-messages ended them, the next worker's
            # quarantine runs the suspects that are left.
            self._stop()

    def _log_kill(self, children: Sequence[Child]) -> None:
        if not children:
            return
        pids = ", ".join(str(each.pid) for each in children)
        if self._hurries:
            what = f"A second signal came. Processes that still run are killed: {pids}."
        elif any(each.was_running() for each in children):
            what = f"Handlers didn't finish within --shutdown-timeout. Their processes are killed: {pids}."
        else:
            what = f"Processes didn't end within --shutdown-timeout, though no handler runs. They are killed: {pids}."
        logger.error(what)

    def _log_left_behind(self) -> None:
        self._left_behind.add_unrescued(self._rescues.given_up)
        self._left_behind.log()
        self._clean = self._clean and not self._left_behind.any

    @property
    def unreached(self) -> bool:
        """Whether the worker has ended without a server that it couldn't reach."""
        return self._left_behind.unreached

    # ------------------------------------------------------------ those that ended

    def _reap(self) -> None:
        for pid, status, was_own in waited():
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                self._halted(pid, halted=os.WIFSTOPPED(status))
                continue
            self._ended(pid, os.waitstatus_to_exitcode(status))
            self._leftovers.ended(pid, own(), was_own=was_own)

    def _halted(self, pid: int, *, halted: bool) -> None:
        """Note that somebody has stopped a process, or let it go on."""
        for child in self._children():
            if child.pid == pid:
                child.halted = halted

    def _ended(self, pid: int, code: int) -> None:
        if self._exporter and self._exporter.ended(pid, code):
            return
        if self._autoreload and self._autoreload.ended(pid, code):
            return
        if self._rescues.ended(pid, code, retry=self._rescuers_deadline is None):
            return
        for child in self._replaced:
            if child.pid == pid:
                self._replaced.remove(child)
                self._note_end(child)
                if not child.ended_well(code):
                    self._rescue(child, code, "")
                return
        for process_slot in self._all_process_slots:
            if process_slot.child is not None and process_slot.child.pid == pid:
                self._process_ended(process_slot, process_slot.child, code)

    def _note_end(self, child: Child) -> None:
        child.counters.end()
        if self._stopping:
            self._left_behind.add(child.scoreboard)
        if why := child.scoreboard.given_up:
            self._give_up(why)

    def _process_ended(self, process_slot: _ProcessSlot, child: Child, code: int) -> None:
        process_slot.child = None
        self._note_end(child)
        progress = child.scoreboard.settled > 0 or child.was_running()
        if progress:
            # What it was running runs again only in quarantine, so the next process gets further.
            process_slot.backoff.reset()
        well = child.ended_well(code)
        if well and process_slot.quarantine:
            self._forget_suspects()
            if not progress:  # Others hold the suspects that are left: look ever later.
                process_slot.backoff.more()
        elif well and not self._stopping and child.scoreboard.left_full:
            process_slot.backoff.reset()
        elif well and (self._stopping or self._options.ends_by_itself or child.scoreboard.left_deleted):
            process_slot.done = self._options.ends_by_itself or child.scoreboard.left_deleted
        else:
            # A replacement makes good for a process that ended badly; at the stop there is none.
            self._clean = self._clean and not self._stopping
            wait = process_slot.backoff.more()
            again = "" if self._stopping or process_slot.quarantine else f" Another starts in {wait:.1f} s."
            self._rescue(child, code, again)

    def _rescue(self, child: Child, code: int, again: str) -> None:
        """Have handed back what a process held, but not where it has just found at the stop that a server is away."""
        orphans = child.orphans(ended_how(code))
        if self._stopping and child.scoreboard.left_unreached:
            orphans = [each for each, slots in zip(orphans, child.scoreboard.slots, strict=True) if slots.left_refused]
        if not orphans:
            return
        self._rescues.add(orphans)
        logger.error("Process %d %s.%s Its messages are to be handed back.", child.pid, ended_how(code), again)
