"""A stray: a process that a handler, what a handler calls, or a receiver of a signal forks from a worker's process.

A stray is a copy of all that the worker holds, down to the calls on its stack. What it does within the handler is the
handler's own affair. But it is no part of the worker, so it gets no further than the handler's end. There it ends as
any program would, and writes nothing to the scoreboard, to a consumer's outcomes or to a server.

The loop over messages makes no check for this. When a process is forked, each part of the worker that is at work here
prepares its copy in the child, so that the child comes to `leave_if_stray` before it touches anything.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

__all__ = ["expected", "is_stray", "leave", "leave_if_stray", "prepared"]

# Functions that prepare a child, the latest last. Each part removes its own: threads come and go in any order.
_preparations: list[Callable[[], object]] = []
_expected = False
_is_stray = False
# The signals that a worker's process hears, and that a stray must not hear in its stead.
_HEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
# While this thread forks: the signals that were blocked in it before.
_here = threading.local()


@contextmanager
def prepared(prepare: Callable[[], object]) -> Iterator[None]:
    """Have a process that is forked within this block, in whatever thread, call `prepare` first.

    Within the block this process counts as no stray, even if it is one, as a handler's child that drains a stream in a
    test: the work is its own. After the block such a child is a stray again.
    """
    global _is_stray  # noqa: PLW0603  one flag for all parts of the process
    outer, _is_stray = _is_stray, False
    _preparations.append(prepare)
    try:
        yield
    finally:
        leave_if_stray()
        _is_stray = outer
        _preparations.remove(prepare)


@contextmanager
def expected() -> Iterator[None]:
    """Count a process that is forked within this block as the supervisor's own, and as no stray."""
    global _expected  # noqa: PLW0603  as above
    _expected = True
    try:
        yield
    finally:
        _expected = False


def is_stray() -> bool:
    """Whether this process was forked in the middle of what it is about to go on with."""
    return _is_stray


def leave_if_stray() -> None:
    """End this process if it is a stray, as Python would with the exception being handled, or else with 0."""
    if _is_stray:
        leave(sys.exc_info()[1])


def leave(error: BaseException | None) -> NoReturn:
    """End this process as Python would after a return or this error, but undo nothing of its parent's in it."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = _exit_code(error.code)
    elif error is not None:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # nobody reads it any more, or there is none
            stream.flush()
    os._exit(code)


def _exit_code(code: object) -> int:
    """Return the exit code that Python makes of `sys.exit(code)`, and print a code that is a text."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _hold_signals() -> None:
    """Block signals while this process forks.

    Before the child is prepared, its copy of the worker's signal handlers would note a signal, which would be lost.
    """
    _here.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD) if _preparations and not _expected else None


def _let_signals_come() -> None:
    if _here.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _here.mask)


def _begin_as_stray() -> None:
    global _is_stray  # noqa: PLW0603  as above
    if _expected or not _preparations:
        return
    _is_stray = True
    while _preparations:
        try:
            _preparations.pop()()
        except Exception:  # noqa: BLE001  the others are prepared nevertheless
            traceback.print_exc()
    _let_signals_come()


os.register_at_fork(before=_hold_signals, after_in_parent=_let_signals_come, after_in_child=_begin_as_stray)
