"""Where a connection leads: its URL and OPTIONS as arguments of redis-py's connection classes.

Everything that knows a password is here, and out of here it gets only to the server.
"""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol, cast
from urllib.parse import SplitResult, urlsplit

from redis.backoff import NoBackoff
from redis.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.exceptions import RedisError
from redis.retry import Retry

from .. import embedded
from ..conf import ConnectionConfig
from ..exceptions import ConfigurationError, ServerUnreachable

__all__ = ["Endpoint", "Wire"]

# What a link's promises rest on: replies of one shape, foreign bytes unharmed, no command sent twice and none
# sent unasked.
_OURS: Final[Mapping[str, Any]] = {
    "protocol": 2,
    "decode_responses": True,
    "encoding": "utf-8",
    "encoding_errors": "surrogateescape",
    "retry": Retry(NoBackoff(), 0),
    "retry_on_error": [],
    "retry_on_timeout": False,
    "health_check_interval": 0,
}
_SECRETS: Final = ("password", "ssl_password")
# A URL is often shared with the project's cache; these are for a pool's eyes.
_FOR_POOLS: Final = ("max_connections", "timeout")

_TIMEOUT: Final = 5.0
_CONNECT_TIMEOUT: Final = 2.0


class Wire(Protocol):
    """What is used of redis-py's connections, and is alike from 5.0 to 8."""

    def send_packed_command(self, command: Iterable[bytes], check_health: bool) -> None:
        """Send bytes; connects first where there is no connection."""

    def read_response(self) -> Any:
        """The next reply; raises an error reply."""

    def can_read(self, timeout: float) -> bool:
        """Whether something has come; raises where it is the end."""

    def disconnect(self) -> None:
        """Close."""


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


_CLASSES: Final[Mapping[str, type[Any]]] = {
    "redis": Connection,
    "rediss": SSLConnection,
    "unix": _UnixConnection,
    "embedded": _UnixConnection,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One connection of the settings, checked. Its repr and its errors tell no password.

    `address` is printable. `arguments` are redis-py's. `directory` is where an embedded server lives.
    """

    alias: str
    address: str
    kind: type[Any] = field(repr=False)
    arguments: Mapping[str, Any] = field(repr=False)
    directory: Path | None = None

    @classmethod
    def of(cls, config: ConnectionConfig) -> Endpoint:
        """Where a connection leads. Raises `ConfigurationError` for a URL or an option that can't work."""
        url = _checked(config)
        kind = _CLASSES[url.scheme]
        arguments = {**config.options, **_of_url(config, url)}
        _check_names(config, kind, arguments)
        directory = embedded.directory(config.alias, config.url) if url.scheme == "embedded" else None
        address = _address(url.scheme, arguments, directory)
        return cls(config.alias, address, kind, {**arguments, **_OURS}, directory)

    @property
    def timeout(self) -> float | None:
        """Seconds that a reply to a short request may take."""
        timeout: float | None = self.arguments.get("socket_timeout", _TIMEOUT)
        return timeout

    def connect(self, timeout: float | None) -> Wire:
        """A connection made and let in; `timeout` is how long a reply may take on it.

        Starts the embedded server where that is meant. Raises redis-py's errors, and `ConfigurationError`
        for an option that has a wrong value.
        """
        where = {} if self.directory is None else {"path": embedded.serve(self.directory)}
        arguments = {"socket_connect_timeout": _CONNECT_TIMEOUT, **self.arguments, **where}
        try:
            connection = self.kind(**{**arguments, "socket_timeout": timeout})
            connection.socket_timeout = timeout  # which redis-py 5.0 forgets for unix sockets
        except (TypeError, ValueError, RedisError) as error:
            raise self._misconfigured(error) from None
        try:
            connection.connect()
        except (TypeError, ValueError) as error:
            raise self._misconfigured(error) from None
        return cast("Wire", connection)

    def unreachable(self, what: str) -> ServerUnreachable:
        """The error that says what became of the server, or of a command on its way to it."""
        return ServerUnreachable(
            f"Connection {self.alias!r} ({self.address}): {self._redacted(what)} "
            f"(Set by REDIS_STREAMS['CONNECTIONS'][{self.alias!r}].)"
        )

    def _misconfigured(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"{_where(self.alias)}: redis-py can't use its URL or OPTIONS: {self._redacted(str(error))}"
        )

    def _redacted(self, text: str) -> str:
        """Text of redis-py's or the server's in one line; some servers repeat an AUTH that they don't know."""
        for name in _SECRETS:
            secret = self.arguments.get(name)
            if secret:
                text = text.replace(str(secret), "***")
        return " ".join(text.split())


def _where(alias: str) -> str:
    return f"REDIS_STREAMS['CONNECTIONS'][{alias!r}]"


def _checked(config: ConnectionConfig) -> SplitResult:
    """The parts of a URL that leads where it seems to.

    An unescaped `/`, `?` or `#` in a password ends the host's part early: the password's head would be taken
    for a port or a host, and shown as such. No error here quotes any of the URL.
    """
    try:
        url = urlsplit(config.url)
        _ = url.port
    except ValueError:
        url = None
    where = f"{_where(config.alias)}['URL']"
    if url is None or _misplaced_at(url):
        raise ConfigurationError(
            f"{where} can't be understood (it isn't shown, for it may hold a password). Expected "
            "redis://user:password@host:port/database; in a user, password or path, each of @ / ? # % : "
            "is written percent-encoded (urllib.parse.quote(value, safe='') does it)."
        )
    if url.scheme in ("redis", "rediss") and not _database(url):
        raise ConfigurationError(f"{where} has a path that isn't the number of a database, as in …:6379/0.")
    if url.scheme == "unix" and not url.path:
        raise ConfigurationError(f"{where} has no path of a socket, as in unix:///run/valkey/valkey.sock.")
    return url


def _misplaced_at(url: SplitResult) -> bool:
    if url.scheme == "embedded":
        return bool(url.fragment)
    if url.scheme == "unix" and "@" not in url.netloc:
        return bool(url.netloc)
    return "@" in url.path + url.query + url.fragment


def _database(url: SplitResult) -> bool:
    return url.path in ("", "/") or url.path[1:].isdecimal()


def _of_url(config: ConnectionConfig, url: SplitResult) -> dict[str, Any]:
    """What the URL says, as redis-py reads it; as there, it wins over OPTIONS."""
    try:
        # An embedded server's path is known when it runs.
        read: Callable[[str], dict[str, Any]] = parse_url
        found = read(f"unix://?{url.query}" if url.scheme == "embedded" else config.url)
    except ValueError as error:
        # Of redis-py's errors only this one is left, and it names the option alone.
        raise ConfigurationError(f"{_where(config.alias)}['URL']: {error}") from None
    ours = {"connection_class", *_OURS, *_FOR_POOLS}
    return {name: value for name, value in found.items() if name not in ours}


def _check_names(config: ConnectionConfig, kind: type, names: Mapping[str, Any]) -> None:
    accepted = _accepted(kind)
    for name in names:
        if name in _OURS:
            raise ConfigurationError(
                f"{_where(config.alias)}['OPTIONS'] sets {name!r}, which is fixed to {_shown(name)}: without "
                "that a message could be published twice or its bytes be changed. Remove it."
            )
        if name not in accepted:
            near = get_close_matches(name, accepted - set(_OURS), n=1)
            raise ConfigurationError(
                f"{_where(config.alias)} has the unknown option {name!r}: redis-py's {kind.__name__.lstrip('_')} "
                f"doesn't take it.{f' Did you mean {near[0]!r}?' if near else ''}"
            )


def _shown(name: str) -> str:
    return "none" if name.startswith("retry") else repr(_OURS[name])


@cache
def _accepted(kind: type) -> frozenset[str]:
    """The names of a connection class's arguments, its bases' included: they hand on what they don't know."""
    bases = [each for each in kind.__mro__ if issubclass(each, AbstractConnection)]
    found = [inspect.signature(each.__init__).parameters.values() for each in bases]
    return frozenset(each.name for parameters in found for each in parameters if each.kind is not each.VAR_KEYWORD) - {
        "self"
    }


def _address(scheme: str, arguments: Mapping[str, Any], directory: Path | None) -> str:
    database = arguments.get("db", 0)
    if directory is not None:
        return f"embedded://{directory}"
    if scheme == "unix":
        return f"unix://{arguments['path']}?db={database}"
    host = arguments.get("host", "localhost")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{arguments.get('port', 6379)}/{database}"
