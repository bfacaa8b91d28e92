"""Locks that say which processes are there. The kernel keeps them, so they can't be stale (flock(2)).

A lock belongs to an open file: it is held until the last copy is closed, whether by a process that ends, is
killed, or is a child that inherited it. None is ever unlocked, for that would unlock the copies too.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["join", "taken"]

_POLL: Final = 0.01  # seconds

# By path of a lock, the file that holds this process's share in it: open as long as the process lives.
_shares: dict[Path, int] = {}
# Files of locks that are on their way to a program that this process is about to start.
_in_passing: set[int] = set()


def join(path: Path, within: float) -> bool:
    """Hold the lock together with others for the rest of this process's life; False if it can't be had."""
    descriptor = _shares.get(path)
    if descriptor is not None and _is_still(descriptor, path):
        return True
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if not _locked(descriptor, fcntl.LOCK_SH, within):
        os.close(descriptor)
        return False
    # Taken out before it is closed: of two threads only one finds it, and closes it once.
    outdated = _shares.pop(path, None)
    _shares[path] = descriptor
    if outdated is not None:
        os.close(outdated)
    return True


@contextmanager
def taken(path: Path, within: float = 0.0) -> Iterator[int | None]:
    """Take the lock alone, as an open file to hand on to the program that shall hold it; None if it can't be had."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    _in_passing.add(descriptor)
    try:
        yield descriptor if _locked(descriptor, fcntl.LOCK_EX, within) else None
    finally:
        _in_passing.discard(descriptor)
        os.close(descriptor)


def _locked(descriptor: int, kind: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL)
        else:
            return True


def _is_still(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one of that name: somebody may have deleted the directory."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _drop_in_passing() -> None:
    """Close the locks that another thread was handing on: a child that kept one would pass for a server for ever."""
    while _in_passing:
        with suppress(OSError):
            os.close(_in_passing.pop())


os.register_at_fork(after_in_child=_drop_in_passing)
