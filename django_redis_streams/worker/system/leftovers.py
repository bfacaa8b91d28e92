"""What handlers leave behind: programs and forked processes that still run when the process that started them is gone.

On Linux they come to the supervisor then, however deep down they were started and in whatever session, and it ends
them. So a worker leaves no process behind that goes on with half a message's work, or that holds the worker's output
open and keeps its reader waiting for ever (https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html).

A process that detaches itself from one that goes on does so on purpose: it is ended with the supervisor.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from ...embedded import serves
from ..log.lines import logger

__all__ = ["Leftovers", "end_own_children"]

# In seconds: how long a process may take to end when asked, and when killed, which the kernel may delay.
_GRACE: Final = 1.0
_PATIENCE: Final = 5.0
_POLL: Final = 0.01
_PR_SET_CHILD_SUBREAPER: Final = 36
# States of a process that runs no more, as `_state` tells them.
_ENDED: Final = ("", "Z", "X")


class Leftovers:
    """The processes that come to the supervisor, for the thread that runs it. Elsewhere than on Linux none do.

    `own` are always the processes that the supervisor has started and that it hasn't seen to end.
    """

    def __init__(self) -> None:
        # Children that aren't the worker's: they ran before it did.
        self._others: set[int] = set()
        # Processes that detached themselves.
        self._detached: set[int] = set()
        # Asked to end, each with when it is killed.
        self._asked: dict[int, float] = {}

    @property
    def any(self) -> bool:
        """Whether some were asked to end and haven't."""
        return bool(self._asked)

    def adopt(self) -> None:
        """Have such processes come here from now on; children that run already are left alone."""
        if sys.platform == "linux":
            self._others.update(_children())
            _subreap(yes=True)

    def look(self, own: Collection[int]) -> None:
        """Note what came as detached, unless a process has ended unwaited for: then what came is for `ended`."""
        new = self._new(own)
        if new and not any(_state(pid) in _ENDED for pid in (*own, *self._asked)):
            self._detached.update(new)

    def ended(self, pid: int, own: Collection[int], *, was_own: bool) -> None:
        """Note that a process has ended, and ask the processes to end that it left behind.

        Those are the ones that come only now.
        """
        self._detached.discard(pid)
        if self._asked.pop(pid, 0.0) or was_own:
            self._ask(self._new(own), f"process {pid} has ended")

    def end_late(self) -> None:
        """Kill the processes that didn't end when asked."""
        now = time.monotonic()
        for pid, deadline in self._asked.items():
            if now >= deadline:
                _signal(pid, signal.SIGKILL)

    def end_all(self, own: Collection[int]) -> None:
        """End all that came, at the supervisor's end, when its own processes have ended or are about to."""
        if sys.platform != "linux":
            return
        until = time.monotonic() + _GRACE + _PATIENCE
        self._detached.clear()
        while time.monotonic() < until:
            self._ask(self._new(own), "the worker ends")
            self.end_late()
            for pid in [each for each in self._asked if _is_gone(each)]:
                del self._asked[pid]
            if not self._asked:
                break
            time.sleep(_POLL)
        _subreap(yes=False)

    def _new(self, own: Collection[int]) -> list[int]:
        known = {*self._others, *self._detached, *self._asked, *own}
        return [pid for pid in _children() if pid not in known and not _ends_by_itself(pid)]

    def _ask(self, pids: Collection[int], when: str) -> None:
        running = [pid for pid in pids if _state(pid) not in _ENDED]
        if running:
            logger.warning("The worker ends what handlers have left running, because %s: %s.", when, _names(running))
        for pid in pids:
            self._asked[pid] = time.monotonic() + _GRACE
            _signal(pid, signal.SIGTERM)


def end_own_children() -> None:
    """End what this process's handlers have left running, as it is about to end; the supervisor ends what stays.

    `atexit` does so with daemons of `multiprocessing`; this does so with all children, or elsewhere than on Linux with
    all of `multiprocessing`.
    """
    children = [pid for pid in _children() if not _ends_by_itself(pid)]
    if running := [pid for pid in children if _state(pid) != "Z"]:
        logger.info("Process %d ends what its handlers have left running: %s.", os.getpid(), _names(running))
    for pid in running:
        _signal(pid, signal.SIGTERM)
    until = time.monotonic() + _GRACE
    while any(_state(pid) not in _ENDED for pid in running) and time.monotonic() < until:
        time.sleep(_POLL)


def _subreap(*, yes: bool) -> None:
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0):
        logger.warning("The worker can't end what its handlers leave running, because prctl failed.")


def _children() -> list[int]:
    """Return this process's children, those included that have ended and weren't waited for."""
    if sys.platform != "linux":
        own = os.getpid()
        # A forked process has its parent's, too.
        return [each.pid for each in multiprocessing.active_children() if each.pid and each._parent_pid == own]  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        found = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    except OSError:  # a thread has ended meanwhile
        return _children()
    return [int(pid) for each in found for pid in each.split()]


def _ends_by_itself(pid: int) -> bool:
    """Return whether a process serves other processes, too, and ends when none needs it any more."""
    try:
        tracks = b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        tracks = False
    return tracks or serves(pid)


def _state(pid: int) -> str:
    """Return a process's state in a letter, as ps shows it: Z if it has ended; "" if it is gone."""
    try:
        Path(f"/proc/{pid}/exe").readlink()
    except FileNotFoundError:  # it is about to end, and may have closed the files by which it is known
        return ""
    except OSError:  # another user's
        pass
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _names(pids: Collection[int]) -> str:
    return ", ".join(f"{_name(pid)} ({pid})" for pid in sorted(pids))


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def _signal(pid: int, number: signal.Signals) -> None:
    # Another user's, as of a program with the setuid bit, can't be ended.
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _is_gone(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
