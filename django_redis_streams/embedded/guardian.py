"""A program that stays beside one embedded server, and stops it when its last user has left.

It is run by the path of this file, with nothing but the standard library, so that it holds nothing of the
project: `guardian.py DIRECTORY SOCKET`, with the guardian's lock among the files that it inherits.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY = 0.2  # seconds
CONNECT_WITHIN = 10.0
STOP_WITHIN = 10.0


def main(directory: str, path: str) -> None:
    """Find the server, leave the process that started this, and watch until the server is gone."""
    users = opened(Path(directory, "users.lock"))
    server = connected(path, opened(Path(directory, "server.lock")))
    in_place = remember(Path(directory, "users.lock"), Path(path))
    if os.fork():
        os._exit(0)
    # The connection says which server is meant, not the path: that may be another server's by now.
    while not ended(server, LOOK_EVERY):
        # A server whose files were deleted is of no use to new users: they will start another.
        # No user comes between the last one's leaving and the end: a new one waits for the lock taken here.
        if not in_place() or free(users, fcntl.LOCK_EX):
            stop(server)
            return


def opened(lock: Path) -> int:
    """Open the file of a lock."""
    return os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)


def free(lock: int, kind: int) -> bool:
    """Return whether nobody held a lock; if so, this process holds it now, until it ends."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def connected(path: str, lock: int) -> socket.socket:
    """Connect to the server, which may be just starting; end this program if that comes to nothing."""
    deadline = time.monotonic() + CONNECT_WITHIN
    while time.monotonic() < deadline and not free(lock, fcntl.LOCK_SH):
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.connect(path)
        except OSError:
            server.close()
            time.sleep(0.01)
        else:
            return server
    sys.exit()


def remember(*paths: Path) -> Callable[[], bool]:
    """Return a function that says whether these are still the same files."""
    found = [path.stat() for path in paths]

    def in_place() -> bool:
        try:
            return all(os.path.samestat(then, path.stat()) for then, path in zip(found, paths, strict=True))
        except FileNotFoundError:
            return False

    return in_place


def ended(server: socket.socket, within: float) -> bool:
    """Return whether the server closes the connection within so many seconds; it says nothing unasked."""
    readable, _, _ = select.select([server], [], [], within)
    return bool(readable) and not server.recv(1024)


def stop(server: socket.socket) -> None:
    """Shut the server down and wait for its end; by force if it objects."""
    deadline = time.monotonic() + STOP_WITHIN
    for command in (b"SHUTDOWN NOSAVE\r\n", b"SHUTDOWN NOSAVE FORCE\r\n"):
        server.sendall(command)
        while time.monotonic() < deadline:
            readable, _, _ = select.select([server], [], [], 1.0)
            if readable and server.recv(1024):
                break  # objections
            if readable:
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
