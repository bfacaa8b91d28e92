"""Where a connection leads: the server's address without passwords, and the arguments for redis-py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .. import embedded
from ..conf import ConnectionConfig, hidden
from ..exceptions import ConfigurationError, ServerUnreachable
from .arguments import FIXED_OPTIONS, arguments_of, checked, where
from .protocols import wrong_scheme
from .transport import CLASSES, Transport, connect
from .trial import Unusable, try_out

__all__ = ["Endpoint"]

_SECRETS: Final = ("password", "ssl_password")
# What a server says of a command that it doesn't know: it may repeat a password that a credential_provider gave.
_REPEATED: Final = re.compile(r"with args beginning with:.*", re.DOTALL)
_TIMEOUT: Final = 5.0
_CONNECT_TIMEOUT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One connection of the settings, checked. Its repr and its errors tell no password.

    `address` is printable. `arguments` are redis-py's; `of_url` are the names of those that the URL gave. `directory`
    is where an embedded server lives.
    """

    alias: str
    address: str
    kind: type[Any] = field(repr=False)
    arguments: Mapping[str, Any] = field(repr=False)
    directory: Path | None = None
    of_url: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, config: ConnectionConfig) -> Endpoint:
        """Return where a connection leads. Raises `ConfigurationError` for a URL or an option that can't work."""
        url = checked(config)
        kind = CLASSES[url.scheme]
        arguments = arguments_of(config, kind, url)
        directory = None
        if url.scheme == "embedded":
            embedded.check_installed()
            directory = embedded.directory(config.alias, config.url)
        address = _address(url.scheme, arguments, directory)
        of_url = frozenset(name for name, value in arguments.items() if value is not config.options.get(name))
        endpoint = cls(config.alias, address, kind, {**arguments, **FIXED_OPTIONS}, directory, of_url)
        endpoint._try_out(endpoint._made(endpoint.timeout))  # which connects nowhere
        return endpoint

    @property
    def timeout(self) -> float | None:
        """Seconds that a reply to a short request may take."""
        timeout: float | None = self.arguments.get("socket_timeout", _TIMEOUT)
        return timeout

    @property
    def server(self) -> tuple[str, int | None]:
        """The server's host and port, or the path of its socket and None.

        Raises `ConfigurationError` where the directory of an embedded server can't be used.
        """
        if self.directory is not None:
            return embedded.socket_path(self.directory), None
        if "path" in self.arguments:
            return str(self.arguments["path"]), None
        if not self.address.startswith(("redis://", "rediss://")):
            return self.address, None  # a fake one, which listens nowhere
        return str(self.arguments.get("host", "localhost")), int(self.arguments.get("port", 6379))

    def connect(self, timeout: float | None) -> Transport:
        """Make a connection and log in; `timeout` is how long a reply may take on it afterwards.

        Starts the embedded server if the URL names one. Raises redis-py's errors, and `ConfigurationError`
        for an option that has a wrong value.
        """
        connection = self._made(timeout)
        if self.directory is not None:
            connection.path = embedded.serve(self.directory)
        try:
            connect(connection)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._misconfigured(error) from None
        except RedisError as error:
            self._try_out(connection)  # redis-py takes an unreadable file for a server that is away
            if said := self._wrong_scheme(error):
                raise RedisError(said) from None
            raise
        return cast("Transport", connection)

    def _try_out(self, connection: Any) -> None:
        """Raise `ConfigurationError` for what sockets or TLS don't take; it connects nowhere."""
        try:
            try_out(connection, self.arguments, unshown=self.of_url)
        except Unusable as error:
            raise ConfigurationError(f"{where(self.alias)}: {hidden(self._redacted(str(error)))}") from None

    def _wrong_scheme(self, error: RedisError) -> str:
        """Return what is wrong with redis:// or rediss://, "" where that isn't why connecting failed."""
        tls = self.address.startswith("rediss://")
        # A server with TLS answers at once what isn't TLS; one without waits for the rest of what is.
        if isinstance(error, AuthenticationError) or (isinstance(error, RedisTimeoutError) and not tls):
            return ""
        if not self.address.startswith(("redis://", "rediss://")):
            return ""
        host, port = self.server
        return "" if port is None else wrong_scheme(host, port, tls=tls)

    def _made(self, timeout: float | None) -> Any:
        """Make redis-py's connection, not connected. Raises `ConfigurationError` for arguments that it can't take."""
        arguments = {"socket_connect_timeout": _CONNECT_TIMEOUT, **self.arguments, "socket_timeout": timeout}
        try:
            connection = self.kind(**arguments)
        except (TypeError, ValueError, OverflowError, RedisError) as error:
            raise self._misconfigured(error) from None
        connection.socket_timeout = timeout  # which redis-py 5.0 forgets for unix sockets
        return connection

    def unreachable(self, what: str) -> ServerUnreachable:
        """Return the error that says what became of the server, or of a command on its way to it."""
        return ServerUnreachable(
            f"Connection {self.alias!r} ({self.address}): {self._redacted(what)} "
            f"(Set by REDIS_STREAMS['CONNECTIONS'][{self.alias!r}].)"
        )

    def _misconfigured(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"{where(self.alias)}: redis-py can't use its URL or OPTIONS: {hidden(self._redacted(str(error)))}"
        )

    def _redacted(self, text: str) -> str:
        """Return text without secrets, in one line; some servers repeat an AUTH that they don't know."""
        text = _REPEATED.sub("(its arguments aren't shown)", text)
        for name in _SECRETS:
            secret = self.arguments.get(name)
            secret = secret.decode("utf-8", "replace") if isinstance(secret, bytes) else str(secret or "")
            for form in sorted({secret, quote(secret), quote(secret, safe=""), repr(secret)[1:-1]}, key=len)[::-1]:
                text = text.replace(form, "***") if form else text
        return " ".join(text.split())


def _address(scheme: str, arguments: Mapping[str, Any], directory: Path | None) -> str:
    database = arguments.get("db", 0)
    if directory is not None:
        return f"embedded://{directory}"
    if scheme == "unix":
        return f"unix://{arguments['path']}?db={database}"
    host = arguments.get("host", "localhost")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{arguments.get('port', 6379)}/{database}"
