"""One connection to a server: what is sent, what comes back, and what it means when nothing does.

Replies come raw from redis-py's `Connection` in RESP2, all text as `str`: no version's shaping of replies, none of
its pools, and above all none of its retries, which send an XADD twice when only the reply was lost. A command goes
out once; where its fate is unknown, `ServerUnreachable` says so and the caller decides.
"""

from __future__ import annotations

import os
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeVar

import hiredis
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..exceptions import ServerUnreachable
from .endpoint import Endpoint
from .refusals import cannot_serve, explained
from .transport import Transport, cut, fileno, limited

__all__ = ["Command", "Link", "OpenLink"]

T = TypeVar("T")

Command = Sequence[str | int | float | bytes]

# Its stub takes tuples of one word only.
_pack: Final[Callable[[Any], bytes]] = hiredis.pack_command

_links: weakref.WeakSet[OpenLink] = weakref.WeakSet()


class Link(ABC):
    """What exchanges commands for replies with one server.

    An error reply is raised by `call` as redis-py's `ResponseError`; it is about the command, and the link
    is as good as before. `ServerUnreachable` is about the server.
    """

    def call(self, *command: str | float | bytes) -> Any:
        """Send one command, given word by word, and return its reply. Raises `ResponseError` for an error reply."""
        (reply,) = self.call_many((command,))
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    @abstractmethod
    def call_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send some commands at once and return the replies; an error reply stands in its place, as an exception."""

    @abstractmethod
    def call_in_turns(self, batches: Iterable[Sequence[Command]]) -> Iterator[list[Any]]:
        """Do as `call_many` for each of some batches, none of them empty; yield their replies, batch by batch.

        The next batch is made and packed while the server works on the one before, but sent only when all replies to
        that are here: if the connection is lost, the fate of one batch alone is unknown. In a cluster all of them are
        for one stream.
        """

    @property
    def node(self) -> str:
        """The address of the one node of a cluster that it sends to what names no key; "" where there is none such."""
        return ""

    def by_node(self, items: Sequence[T], key: Callable[[T], str]) -> Iterable[tuple[Link, Sequence[T]]]:
        """Yield for each node of a cluster, and for a single server once, those items whose `key` it has.

        The link with them sends to that node what names no key.
        """
        del key
        return [(self, items)]

    def at(self, key: str) -> Link:
        """Return what sends to the node that has a key what names none; itself for a single server."""
        del key
        return self

    def of_node(self, node: str) -> Link:
        """Return what sends to one node of a cluster, by its address, what names no key; itself for a single server."""
        del node
        return self

    def each_node(self) -> Sequence[Link]:
        """Return what sends to each node of a cluster that has slots what names no key; itself for a single server."""
        return [self]


class OpenLink(Link):
    """One connection, for one thread at a time. Once lost or closed it stays so: each call says so."""

    IDLE: Final = 1.0  # seconds without a command or reply, after which a server may have closed the connection

    def __init__(self, endpoint: Endpoint, timeout: float | None) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._connection: Transport | None = None
        self._owed = 0
        self._used = 0.0
        self._was_idle = False
        self._cut = False
        self._sent = 0.0
        # When that was sent to which the last replies came, on the monotonic clock.
        self.answered = 0.0
        _links.add(self)

    def __repr__(self) -> str:
        state = "connected" if self.connected else "closed"
        return f"<{type(self).__name__} {self._endpoint.alias!r} to {self._endpoint.address}, {state}>"

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known without asking the server."""
        return self._connection is not None

    @property
    def node(self) -> str:
        """The address of the node of a cluster that it leads to; "" for a single server."""
        return self._endpoint.place

    def answered_by(self, node: str) -> float | None:
        """Return when that was sent which the server, or a node of the cluster, has answered last.

        It is on the monotonic clock, and None where the link isn't connected to the node.
        """
        del node
        return self.answered

    def take_reconnected(self) -> bool:
        """Return whether it has connected to a node of a cluster anew since this was asked; never for a single server.

        A link to a single server stays lost.
        """
        return False

    @property
    def idle(self) -> float:
        """Seconds since the last command or reply; 0 while a reply is owed."""
        return 0.0 if self._owed else time.monotonic() - self._used

    @property
    def usable(self) -> bool:
        """Whether there is a connection, and the server hasn't closed it while it was idle for a second or more."""
        connection = self._connection
        return connection is not None and (self.idle <= self.IDLE or not _stale(connection))

    def confirm(self) -> None:
        """If the connection was idle, wait for the server's answer to a PING.

        It is for a command that must not be sent twice: if the server closes the connection as idle after it was looked
        at, the PING is lost in its place. Raises `ServerUnreachable`.
        """
        if self.idle > self.IDLE:
            self.call_many((("PING",),))

    def ask(self, seconds: float) -> None:
        """Have the server answer a PING within so many seconds, and close the connection if it doesn't.

        Raises `ServerUnreachable`.
        """
        self._check_owed()
        connection, was_idle = self._connection, self.idle > self.IDLE
        if connection is None:
            raise self._closed()
        try:
            with limited(connection, seconds):
                connection.send_packed_command((_packed([("PING",)]),), check_health=False)
                _reply(connection)
        except RedisError as error:
            self.close()
            unreachable = self._endpoint.unreachable(
                f"the server doesn't answer: {str(error).rstrip('.')}. It was sent a PING, and nothing else."
            )
            unreachable.was_idle = was_idle and isinstance(error, RedisConnectionError)
            unreachable.was_silent = isinstance(error, RedisTimeoutError)
            raise unreachable from error
        except BaseException:
            self.close()
            raise
        self._used = time.monotonic()

    def silent_nodes(self, seconds: float, keys: Iterable[str]) -> list[ServerUnreachable]:
        """Do as `ask` for each node that has these keys, of a single server for that; return the errors."""
        del keys
        try:
            self.ask(seconds)
        except ServerUnreachable as error:
            return [error]
        return []

    def call_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send some commands at once and return the replies; an error reply stands in its place, as an exception."""
        self._check_owed()
        data = _packed(commands)
        try:
            self._send(data, len(commands))
            return self.receive(len(commands))
        except BaseException:
            # If it is ended between the halves, by Ctrl-C say, the next call would take these replies for its own.
            self.close()
            raise

    def call_in_turns(self, batches: Iterable[Sequence[Command]]) -> Generator[list[Any], None, None]:
        """Do as `call_many` for each of some batches, in turns with the server."""
        self._check_owed()
        sent = 0
        try:
            for commands in batches:
                data = _packed(commands)
                if sent:
                    yield self.receive(sent)
                self._send(data, sent := len(commands))
            if sent:
                yield self.receive(sent)
        except BaseException:
            # As above; also if the caller takes no more replies.
            self.close()
            raise

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands without waiting; their replies are to be received later, in order."""
        self._send(_packed(commands), len(commands))

    def receive(self, count: int) -> list[Any]:
        """Return the next `count` replies to what was sent; an error reply stands in its place, as an exception."""
        if self._connection is None:
            raise self._closed()
        if count > self._owed:
            raise RuntimeError(f"{self!r} owes {self._owed} replies, not {count}.")
        try:
            replies = [_reply(self._connection) for _ in range(count)]
        except BaseException as error:  # noqa: BLE001  whatever it is, the rest of the exchange is lost
            self._lost(error)
        self._owed -= count
        self._used = time.monotonic()
        self.answered = self._sent
        for reply in replies:
            if isinstance(reply, ResponseError):
                self._refused(reply)
        return replies

    def _refused(self, error: ResponseError) -> None:
        """Close the link and raise where an error reply says that the server can't serve now."""
        if cannot_serve(error):
            self.close()
            raise self._endpoint.unreachable(f"refuses: {error}") from error

    def fileno(self) -> int:
        """Return the file descriptor, which is readable once a reply is there; -1 without a connection.

        It is for callers that wait for replies in their own way.
        """
        return -1 if self._connection is None else fileno(self._connection)

    @property
    def waits_since(self) -> float | None:
        """When that was sent to which a reply is owed, on the monotonic clock; None where none is. For any thread."""
        return self._used if self._owed else None

    def cut(self) -> None:
        """Have the thread that waits on this link find the connection lost, at once. For any other thread."""
        connection = self._connection
        if connection is not None:
            self._cut = True
            cut(connection)

    def connect(self, pauses: Iterable[float] = (), within: float | None = None) -> None:
        """Connect, if not connected; try once more after each pause, in seconds, where the server may be restarting.

        By sentinels, all of it takes at most `within` seconds. Raises `ServerUnreachable`.
        """
        if self._connection is None:
            self._connection = self._connected(pauses, None if within is None else time.monotonic() + within)

    def close(self) -> None:
        """Close the connection; replies not yet received are lost. Closing again does nothing."""
        connection, self._connection, self._owed = self._connection, None, 0
        if connection is not None:
            connection.disconnect()

    def _check_owed(self) -> None:
        if self._owed:
            raise RuntimeError(f"{self!r} owes {self._owed} replies: receive them before the next call.")

    def _send(self, data: bytes, count: int) -> None:
        connection = self._connection
        if connection is None:
            raise self._closed()
        if not self._owed:
            self._sent = now = time.monotonic()
            self._was_idle, self._used = now - self._used > self.IDLE, now
        self._owed += count
        try:
            connection.send_packed_command((data,), check_health=False)
        except BaseException as error:  # noqa: BLE001  as above
            self._lost(error)

    def _connected(self, pauses: Iterable[float], until: float | None) -> Transport:
        waits = iter(pauses)
        while True:
            try:
                connection = self._endpoint.connect(self._timeout, until)
            except RedisError as error:
                # A wrong password stays wrong, and a time-out has cost its time already.
                restarting = isinstance(error, RedisConnectionError) and not isinstance(error, AuthenticationError)
                pause = next(waits, None) if restarting else None
                if pause is None or (until is not None and time.monotonic() + pause >= until):
                    # Not chained: redis-py's frames hold the password.
                    silent = isinstance(error, RedisTimeoutError)
                    text = f"the server doesn't answer: {error}" if silent else str(error)
                    unreachable = self._endpoint.unreachable(text)
                    unreachable.was_silent = silent
                    raise unreachable from None
                time.sleep(pause)
            else:
                self._used = time.monotonic()
                return connection

    def _lost(self, error: BaseException) -> NoReturn:
        """Give up the connection and what was on its way; raise an error for the exchange that failed."""
        self.close()
        if not isinstance(error, RedisError):
            raise error
        if isinstance(error, BusyLoadingError | AuthenticationError):
            raise self._endpoint.unreachable(f"refuses: {error}") from error
        what = "It sent no whole reply in time" if self._cut else str(error).rstrip(".")
        unreachable = self._endpoint.unreachable(
            f"{what}. The connection was lost before a reply came: the command may or may not have been carried out."
        )
        unreachable.was_idle = self._was_idle and not self._cut and isinstance(error, RedisConnectionError)
        unreachable.was_silent = isinstance(error, RedisTimeoutError)
        raise unreachable from error

    def _closed(self) -> ServerUnreachable:
        return self._endpoint.unreachable("the link is closed; nothing was sent.")


def _packed(commands: Sequence[Command]) -> bytes:
    try:
        return b"".join([_pack(tuple(command)) for command in commands])
    except UnicodeEncodeError:
        # Foreign bytes, on their way back as they came.
        return b"".join([_pack(tuple(map(_encoded, command))) for command in commands])


def _encoded(word: str | float | bytes) -> int | float | bytes:
    return word.encode("utf-8", "surrogateescape") if isinstance(word, str) else word


def _reply(connection: Transport) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        # Without its traceback, which would keep this frame and all replies until the collector runs.
        return explained(error).with_traceback(None)


def _stale(connection: Transport) -> bool:
    """Return whether an idle connection was closed by the server, or holds a reply that nobody waits for."""
    try:
        return bool(connection.can_read(timeout=0))
    except (RedisError, OSError):
        return True


def _drop_inherited() -> None:
    """Close a child's copies of its parent's connections.

    A copy that is used mixes two processes' replies; one that is merely kept hides the parent's death from
    the server, which goes on serving a dead reader. redis-py sees that this isn't the process that
    connected, and closes without the shutdown that would end the parent's connection too.
    """
    for link in list(_links):
        with suppress(Exception):
            link.close()


os.register_at_fork(after_in_child=_drop_inherited)
