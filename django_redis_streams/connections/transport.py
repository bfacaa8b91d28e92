"""redis-py's connection classes: which one for which scheme, and what is used of them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, Protocol

from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

__all__ = ["CLASSES", "Transport", "ask", "connect", "cut", "fileno", "limited"]


class Transport(Protocol):
    """What is used of redis-py's connections, and is alike from 5.0 to 8."""

    def send_packed_command(self, command: Iterable[bytes], check_health: bool) -> None:
        """Send bytes; connects first where there is no connection."""

    def read_response(self) -> Any:
        """Return the next reply; raise an error reply."""

    def can_read(self, timeout: float) -> bool:
        """Return whether something has come; raises if the connection has ended."""

    def disconnect(self) -> None:
        """Close."""


def fileno(connection: Any) -> int:
    """Return the file descriptor of a connection's socket; -1 if closed. redis-py has no other name for it."""
    return -1 if connection._sock is None else int(connection._sock.fileno())  # noqa: SLF001


def cut(connection: Any) -> None:
    """Shut a connection's socket down. The thread that waits on it finds that it was lost, and closes it."""
    if connection._sock is not None:  # noqa: SLF001  as above
        with suppress(OSError):  # it was closed meanwhile
            socket.socket.shutdown(connection._sock, socket.SHUT_RDWR)  # noqa: SLF001  as above; TLS has its own


def connect(connection: Any) -> None:
    """Connect and log in. Each reply on the way is waited for as long as connecting may take, and no longer.

    redis-py waits for it as long as for any reply. Raises redis-py's errors.
    """
    timeout, limit = connection.socket_timeout, connection.socket_connect_timeout
    if limit is None or (timeout is not None and timeout <= limit):
        connection.connect()
        return
    given: Callable[[Any], None] | None = connection.redis_connect_func

    def log_in(_: Any) -> None:
        connection.socket_timeout = timeout  # which redis-py's parser notes
        (given or type(connection).on_connect)(connection)
        _limit(connection, timeout)

    connection.socket_timeout, connection.redis_connect_func = limit, log_in
    try:
        connection.connect()
    finally:
        # Or the connection would hold itself, and be closed by the collector instead of by its last owner.
        connection.redis_connect_func = given


def ask(connection: Any, *command: str) -> Any:
    """Return the reply to a command on a new connection, waited for as long as connecting may take."""
    limit = connection.socket_connect_timeout
    with nullcontext() if limit is None else limited(connection, limit):
        connection.send_command(*command)
        return connection.read_response()


@contextmanager
def limited(connection: Any, seconds: float) -> Iterator[None]:
    """Wait for replies at most so many seconds within it."""
    before: float | None = connection.socket_timeout
    _limit(connection, seconds if before is None else min(before, seconds))
    try:
        yield
    finally:
        _limit(connection, before)


def _limit(connection: Any, seconds: float | None) -> None:
    sock = connection._sock  # noqa: SLF001  as above
    if isinstance(sock, socket.socket):  # a fake server has none, and one that failed is closed
        sock.settimeout(seconds)


class _UnixConnection(UnixDomainSocketConnection):
    """redis-py's, but closing the socket where connecting fails: 5.0 leaves it to the collector's warning."""

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.socket_connect_timeout)
            sock.connect(self.path)
            sock.settimeout(self.socket_timeout)
        except BaseException:
            sock.close()
            raise
        return sock


CLASSES: Final[Mapping[str, type[Any]]] = {
    "redis": Connection,
    "rediss": SSLConnection,
    "unix": _UnixConnection,
    "embedded": _UnixConnection,
}
