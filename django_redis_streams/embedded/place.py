"""Where an embedded server lives: its directory, its files, its socket."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..exceptions import ConfigurationError

__all__ = ["GUARDIAN_LOCK", "SERVER_LOCK", "SOCKET_PATH_LIMIT", "Place"]

SERVER_LOCK: Final = "server.lock"
GUARDIAN_LOCK: Final = "guardian.lock"

# What the kernel's sockaddr_un has room for, in bytes, without the zero at its end.
SOCKET_PATH_LIMIT: Final = 103 if sys.platform == "darwin" else 107
# Not the temporary directory of the environment: all processes of a project must find the same socket.
_SHORT: Final = "/tmp"  # noqa: S108  in there, a directory that only this user can enter


@dataclass(frozen=True, slots=True)
class Place:
    """A directory of this user's, and the path of the server's socket in it or, if too long, elsewhere."""

    directory: Path
    socket: str

    @classmethod
    def prepare(cls, directory: Path) -> Place:
        """Make the directory if need be. Raises `ConfigurationError` where it can't be used."""
        try:
            if not directory.exists():
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                (directory / ".gitignore").write_text("*\n")
            if not directory.is_dir():
                raise NotADirectoryError("it isn't a directory")
            if directory.stat().st_uid != os.geteuid():
                raise PermissionError("it belongs to another user")
            if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError("it can't be written to")
            # The path of the directory itself: two ways to it must lead to one socket.
            return cls(directory, _socket(directory.resolve()))
        except OSError as error:
            raise ConfigurationError(
                f"The embedded server can't keep its data in {directory}: {error}. Name a directory of your "
                "own in REDIS_STREAMS['CONNECTIONS'], as in 'URL': 'embedded:///absolute/path'."
            ) from None

    @property
    def users(self) -> Path:
        """Locked by everyone who uses the server."""
        return self.directory / "users.lock"

    @property
    def server(self) -> Path:
        """Locked by the server."""
        return self.directory / SERVER_LOCK

    @property
    def guardian(self) -> Path:
        """Locked by the guardian."""
        return self.directory / GUARDIAN_LOCK

    @property
    def log(self) -> Path:
        """Where the server and the guardian write what they have to say."""
        return self.directory / "valkey.log"


def _socket(directory: Path) -> str:
    path = str(directory / "valkey.sock")
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:20]
    return f"{_private()}/{name}.sock"


def _private() -> Path:
    """Make a short directory that nobody else can enter. Refuse one that somebody else has made."""
    path = Path(_SHORT, f"redis-streams-{os.geteuid()}")
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(
                f"its path is too long for a socket, and {path}, for the socket, isn't a directory that only "
                "this user can enter"
            ) from None
    return path
