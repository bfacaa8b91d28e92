"""Forking the processes of a supervisor, which has neither threads nor connections: so it can fork at any time."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import Final, NoReturn

from .. import strays
from .leftovers import end_own_children

__all__ = ["NOTED", "ended_how", "forked", "own", "waited"]

# The signals that the supervisor waits for.
NOTED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)

# The pids of the processes that were forked here and weren't seen to end.
_own: set[int] = set()


def ended_how(code: int) -> str:
    """Say how a process ended: `was ended by SIGSEGV`, `ended with exit code 1`."""
    return f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal, most of which have no name
        return f"signal {number}"


def own() -> Collection[int]:
    """Return the pids of the processes that were forked here and weren't seen to end."""
    return _own


def waited() -> Iterator[tuple[int, int, bool]]:
    """Yield each child that has ended, or was stopped or let go on: its pid, status, and whether it was forked here.

    The others were left by a child that is gone. The status is that of `os.waitpid`.
    """
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        except ChildProcessError:
            return
        if pid == 0:
            return
        was_own = pid in _own
        if not (os.WIFSTOPPED(status) or os.WIFCONTINUED(status)):
            _own.discard(pid)
        yield pid, status, was_own


def forked(work: Callable[[], int], *, deaf: bool = False) -> int:
    """Fork a child that does the work and ends with the exit code it returns, and return the child's pid.

    Before the child has signal handlers of its own, its copy of the supervisor's would note a signal, which would be
    lost. So SIGTERM is blocked in the child until it enters `Signals`. Once it has left them, it ends anyway: a SIGTERM
    that comes then must not cut that short. A `deaf` child never enters them: it ends by itself.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NOTED)
    with strays.expected():
        pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _own.add(pid)
        return pid
    _own.clear()
    atexit._clear()  # noqa: SLF001  no public way: what the parent has registered is the parent's to do
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, _ends_anyway)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, _ends_anyway)  # of a terminal: the supervisor forwards it as SIGTERM
        # A signal that stays blocked is blocked in the programs that the child starts, too.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NOTED if deaf else {signal.SIGCHLD, signal.SIGINT})
        code = work()
    except BaseException:  # noqa: BLE001  nothing of the supervisor's may run in a child
        traceback.print_exc()
    finally:
        _leave(code)


def _ends_anyway(_number: int, _frame: FrameType | None) -> None:
    """Unlike SIG_IGN, this is not handed on to the programs that a handler starts."""


def _leave(code: int) -> NoReturn:
    atexit._run_exitfuncs()  # noqa: SLF001  no public way: os._exit runs none of them; it prints what they raise
    logging.shutdown()  # has logging's handlers write what they hold
    try:
        end_own_children()
    except Exception:  # noqa: BLE001  as above
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
