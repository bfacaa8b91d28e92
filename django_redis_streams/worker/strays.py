"""A process that is forked in the middle of a worker's: by a handler, by what it calls, by a receiver of a signal.

It is a copy of all that the worker holds, down to the calls that it stands in. What it does within the handler is the
handler's own affair; but it is no part of the worker, so it never gets further than the handler's end. There it ends as
any program does that comes to its end so, without a word to the scoreboard, to a consumer's outcomes or to a server.

Nothing is asked for this after each message. When a process is forked, each part of the worker that is at work here
prepares its copy in the child, so that it comes to `leave_if_stray` before it touches anything.
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

# What prepares a child, the latest last. Whoever adds himself removes himself: threads come and go in any order.
_preparations: list[Callable[[], object]] = []
_expected = False
_is_stray = False
# What a worker's process hears, and a stray is not to hear in its stead.
_HEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
# While this thread forks: what was blocked in it before.
_here = threading.local()


@contextmanager
def prepared(prepare: Callable[[], object]) -> Iterator[None]:
    """Within it, a process that is forked here, in whatever thread, calls `prepare` first.

    What is called within is this process's own work, also where it is a stray itself, as a handler's child that drains
    a stream in a test; a child that comes to its end is a stray again.
    """
    global _is_stray  # noqa: PLW0603  what a process is, is told once for all its parts
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
    """Within it a forked process is one of the supervisor's own, and no stray."""
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
    """End this process if it is a stray: as one ends that raises what is being raised just now, or with 0."""
    if _is_stray:
        leave(sys.exc_info()[1])


def leave(error: BaseException | None) -> NoReturn:
    """End this process, as Python ends one that returns or raises this; but nothing of its parent's is undone in it."""
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

    A signal to the child that comes before it is prepared would be noted by a copy of the worker's, and lost.
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
