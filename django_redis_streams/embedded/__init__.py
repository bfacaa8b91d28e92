"""`embedded://`: a real Valkey of the project's own, for development, there while any process needs it.

It listens on a unix socket, keeps an append-only file in the project, and belongs to no process: the first
that needs it starts it, a guardian stops it when the last has left. No file is trusted to say that a process lives:
each role is a lock that the kernel drops with its holder, however that ends, and hands on to children.

=============== ======================= ==========================================================
file            locked by               tells
=============== ======================= ==========================================================
users.lock      every process (shared)  whether anybody is left; the guardian's last act takes it
server.lock     the server              whether one runs: only the process that gets it starts one
guardian.lock   the guardian            whether one watches: likewise
=============== ======================= ==========================================================

`place` is the directory, `locks` the locks, `server` how the server is started, `guardian` a program that is
run beside it.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.conf import settings

from ..exceptions import ConfigurationError, ServerUnreachable
from .place import Place
from .server import program, serve_at, serves

__all__ = ["check_installed", "directory", "serve", "serves", "socket_path"]

DEFAULT_NAME = ".redis-streams"


def check_installed() -> None:
    """Raise `ConfigurationError` where the server isn't installed; starts nothing."""
    program()


def directory(alias: str, url: str) -> Path:
    """Return the directory that an embedded:// URL names; relative ones are under `BASE_DIR`."""
    parts = urlsplit(url)
    named = unquote(parts.netloc + parts.path)
    if named.startswith("/"):
        return Path(named)
    base = getattr(settings, "BASE_DIR", None)
    if base is None:
        raise ConfigurationError(
            f"REDIS_STREAMS['CONNECTIONS'][{alias!r}]['URL'] names a directory under BASE_DIR, and the "
            "settings have none. Define BASE_DIR, or name a directory: 'embedded:///absolute/path'."
        )
    return Path(base).absolute() / (named or DEFAULT_NAME)


def socket_path(where: Path) -> str:
    """Return the path of the socket of the server that keeps its data there; starts nothing.

    Makes the directory if need be. Raises `ConfigurationError` where it can't be used.
    """
    return Place.prepare(where).socket


def serve(where: Path) -> str:
    """Start the server that keeps its data there, if it doesn't run, and return the path of its socket.

    This process, and every child that it forks, counts as a user of it from now on. Raises
    `ConfigurationError` where the directory can't be used or the server isn't installed, and
    `ServerUnreachable` with the tail of its log where it doesn't start.
    """
    place = Place.prepare(where)
    try:
        return serve_at(place)
    except OSError as error:  # the disk is full, the directory was deleted a moment ago
        raise ServerUnreachable(f"The embedded server in {where} can't be reached or started: {error}") from error
