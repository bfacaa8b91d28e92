"""Where a connection leads: the server's address without passwords, and the arguments for redis-py."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .. import embedded
from ..conf import ConnectionConfig, hidden
from ..exceptions import ConfigurationError, ServerUnreachable
from . import cluster_settings, sentinel_settings
from .addresses import Address, Remap, place, remap_of
from .arguments import FIXED_OPTIONS, arguments_of, checked, where
from .protocols import wrong_scheme
from .refusals import BY_CLUSTER
from .sentinel_settings import SentinelUrl, sentinel_arguments
from .sentinels import Sentinels, check_role
from .transport import CLASSES, Transport, connect
from .trial import Unusable, try_out

__all__ = ["Endpoint"]

_SECRETS: Final = ("password", "ssl_password")
# What a server says of a command that it doesn't know: it may repeat a password that a credential_provider gave.
_REPEATED: Final = re.compile(r"with args beginning with:.*", re.DOTALL)
# What a node of a cluster says of any database but 0.
_NO_DATABASES: Final = "not allowed in cluster mode"
_TIMEOUT: Final = 5.0
_CONNECT_TIMEOUT: Final = 2.0
# What is left for connecting to a node of a cluster, at least, where another has cost the time.
_LEAST: Final = 0.05


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One connection of the settings, checked. Its repr and its errors tell no password.

    `address` is printable. `arguments` are redis-py's; `of_url` are the names of those that the URL gave. `directory`
    is where an embedded server lives. `sentinels` say where the server is, each time that a link connects: then
    neither `address` nor `server` changes with a failover. `nodes` are those of a cluster that the URL names, and
    `remap` turns what they announce into addresses to connect to: no link connects to a cluster, but to one of its
    nodes, by an endpoint of its own, `at` the node's address; `node` is that then.
    """

    alias: str
    address: str
    kind: type[Any] = field(repr=False)
    arguments: Mapping[str, Any] = field(repr=False)
    directory: Path | None = None
    of_url: frozenset[str] = field(default=frozenset(), repr=False)
    sentinels: Sentinels | None = field(default=None, repr=False)
    nodes: tuple[Address, ...] = ()
    node: Address | None = None
    remap: Remap | None = field(default=None, repr=False)

    @classmethod
    def of(cls, config: ConnectionConfig) -> Endpoint:
        """Return where a connection leads. Raises `ConfigurationError` for a URL or an option that can't work."""
        if config.by_cluster:
            return cls._of_cluster(config)
        told = sentinel_settings.read_url(config) if config.by_sentinels else None
        config = config if told is None else told.plain
        url = checked(config)
        kind = CLASSES[url.scheme]
        arguments = arguments_of(config, kind, url)
        sentinels = None if told is None else _sentinels(told, arguments)
        directory = None
        if url.scheme == "embedded":
            embedded.check_installed()
            directory = embedded.directory(config.alias, config.url)
        address = _address(url.scheme, arguments, directory, sentinels)
        of_url = frozenset(name for name, value in arguments.items() if value is not config.options.get(name))
        endpoint = cls(config.alias, address, kind, {**arguments, **FIXED_OPTIONS}, directory, of_url, sentinels)
        made = endpoint._made(endpoint.timeout)  # which connects nowhere
        endpoint._try_out(made)
        endpoint._try_out_sentinels()
        return replace(endpoint, arguments={**endpoint.arguments, **_looked_up(made)})

    @classmethod
    def _of_cluster(cls, config: ConnectionConfig) -> Endpoint:
        told = cluster_settings.read_url(config)
        url = checked(told.plain)
        kind = CLASSES[url.scheme]
        arguments = cluster_settings.node_arguments(config, arguments_of(told.plain, kind, url))
        of_url = frozenset(name for name, value in arguments.items() if value is not config.options.get(name))
        address = f"{url.scheme}+cluster://{','.join(map(place, told.nodes))}"
        endpoint = cls(
            config.alias, address, kind, {**arguments, **FIXED_OPTIONS}, of_url=of_url | {"host"}, nodes=told.nodes,
            remap=remap_of(config),
        )  # fmt: skip
        made = [endpoint.at(each)._tried() for each in told.nodes]  # noqa: SLF001  endpoints as this one
        return replace(endpoint, arguments={**endpoint.arguments, **_looked_up(made[0])})

    def _tried(self) -> Any:
        """Return redis-py's connection, not connected, of which sockets and TLS take all options."""
        made = self._made(self.timeout)
        self._try_out(made)
        return made

    def at(self, node: Address) -> Endpoint:
        """Return the endpoint of one node of the cluster; the addresses are those after `remap`."""
        host, port = node
        arguments = {**self.arguments, "host": host, "port": port}
        return replace(self, address=f"{self.address}, node {place(node)}", arguments=arguments, node=node)

    @property
    def timeout(self) -> float | None:
        """Seconds that a reply to a short request may take."""
        timeout: float | None = self.arguments.get("socket_timeout", _TIMEOUT)
        return timeout

    @property
    def connect_timeout(self) -> float | None:
        """Seconds that connecting and logging in may take; None where that isn't bounded."""
        limit: float | None = self.arguments.get("socket_connect_timeout", _CONNECT_TIMEOUT)
        return limit

    @property
    def bound(self) -> float | None:
        """Seconds that all attempts of a kept link to connect may take together; None where they needn't be bounded."""
        if self.sentinels is None and not self.nodes:
            return None
        return self.connect_timeout

    @property
    def server(self) -> tuple[str, int | None]:
        """The server's host and port, or the path of its socket, or the name of the sentinels' master, and None.

        Of a cluster it is the first node of the URL. Raises `ConfigurationError` where the directory of an embedded
        server can't be used.
        """
        if self.sentinels is not None:
            return self.sentinels.master, None
        if self.nodes:
            return self.node or self.nodes[0]
        if self.directory is not None:
            return embedded.socket_path(self.directory), None
        if "path" in self.arguments:
            return str(self.arguments["path"]), None
        if not self.address.startswith(("redis://", "rediss://")):
            return self.address, None  # a fake one, which listens nowhere
        return str(self.arguments.get("host", "localhost")), int(self.arguments.get("port", 6379))

    def connect(self, timeout: float | None, until: float | None = None) -> Transport:
        """Make a connection and log in; `timeout` is how long a reply may take on it afterwards.

        Starts the embedded server if the URL names one, and asks for the master if it names sentinels; `until`, on the
        monotonic clock, bounds that as a whole, or connecting to a node of a cluster. Raises redis-py's errors, and
        `ConfigurationError` for an option that has a wrong value, or a database that a node of a cluster doesn't have.
        """
        if self.sentinels is not None:
            return self.sentinels.connect(lambda address, limit: self._to_master(timeout, address, limit), until)
        connection = self._made(timeout, **self._limited(until))
        if self.directory is not None:
            connection.path = embedded.serve(self.directory)
        return self._logged_in(connection)

    def _to_master(self, timeout: float | None, address: Address, limit: float | None) -> Transport:
        """Connect to what sentinels name, within a limit for each step; raises redis-py's error for a replica."""
        host, port = address
        connection = self._made(timeout, host=host, port=port, socket_connect_timeout=self._shorter(limit))
        made = self._logged_in(connection)
        try:
            check_role(connection)
        except BaseException:
            connection.disconnect()
            raise
        return made

    def _limited(self, until: float | None) -> Mapping[str, Any]:
        """Return the arguments that bound connecting to a node of a cluster; a single server's options bound it."""
        if self.node is None or until is None:
            return {}
        return {"socket_connect_timeout": self._shorter(max(_LEAST, until - time.monotonic()))}

    def _shorter(self, limit: float | None) -> float | None:
        return min([each for each in (self.connect_timeout, limit) if each is not None], default=None)

    def _logged_in(self, connection: Any) -> Transport:
        try:
            connect(connection)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._misconfigured(error) from None
        except RedisError as error:
            self._try_out(connection)  # redis-py takes an unreadable file for a server that is away
            if _NO_DATABASES in str(error):
                said = f"the server is a node of a cluster ({self._redacted(str(error))}). {BY_CLUSTER}"
                raise ConfigurationError(f"{where(self.alias)}: {said}") from None
            if said := self._wrong_scheme(connection, error):
                raise RedisError(said) from None
            raise
        return cast("Transport", connection)

    def _try_out(self, connection: Any) -> None:
        """Raise `ConfigurationError` for what sockets or TLS don't take; it connects nowhere."""
        try:
            try_out(connection, self.arguments, unshown=self.of_url)
        except Unusable as error:
            raise ConfigurationError(f"{where(self.alias)}: {hidden(self._redacted(str(error)))}") from None

    def _try_out_sentinels(self) -> None:
        """Do the same for the sentinels, and their options."""
        if self.sentinels is None:
            return
        for address in self.sentinels.addresses:
            arguments = {**self.sentinels.arguments, "host": address[0]}
            try:
                try_out(self.sentinels.made(address), arguments, unshown={"host"})
            except (Unusable, TypeError, ValueError, OverflowError, RedisError) as error:
                said = f"{where(self.alias)}, SENTINEL_OPTIONS or the sentinels of URL: {self._redacted(str(error))}"
                raise ConfigurationError(hidden(said)) from None

    def _wrong_scheme(self, connection: Any, error: RedisError) -> str:
        """Return what is wrong with redis:// or rediss://, "" where that isn't why connecting failed."""
        scheme, _, _ = self.address.partition("://")
        tls = scheme.startswith("rediss")
        # A server with TLS answers at once what isn't TLS; one without waits for the rest of what is.
        if isinstance(error, AuthenticationError) or (isinstance(error, RedisTimeoutError) and not tls):
            return ""
        if not scheme.startswith("redis") or not wrong_scheme(connection.host, connection.port, tls=tls):
            return ""
        other = scheme.replace("rediss", "redis") if tls else scheme.replace("redis", "rediss")
        speaks, more = ("no TLS", ", or name its port for TLS") if tls else ("TLS", "")
        return f"The server speaks {speaks} at this port: write {other}:// instead of {scheme}://{more}."

    def _made(self, timeout: float | None, **further: Any) -> Any:
        """Make redis-py's connection, not connected. Raises `ConfigurationError` for arguments that it can't take."""
        arguments = {"socket_connect_timeout": _CONNECT_TIMEOUT, **self.arguments, "socket_timeout": timeout, **further}
        try:
            connection = self.kind(**arguments)
        except (TypeError, ValueError, OverflowError, RedisError) as error:
            raise self._misconfigured(error) from None
        connection.socket_timeout = timeout  # which redis-py 5.0 forgets for unix sockets
        return connection

    def unreachable(self, what: str) -> ServerUnreachable:
        """Return the error that says what became of the server, or of a command on its way to it."""
        error = ServerUnreachable(
            f"Connection {self.alias!r} ({self.address}): {self._redacted(what)} "
            f"(Set by REDIS_STREAMS['CONNECTIONS'][{self.alias!r}].)"
        )
        error.node = self.place
        return error

    @property
    def place(self) -> str:
        """The address of the node of a cluster, as a URL has it; "" where the endpoint is no node's."""
        return "" if self.node is None else place(self.node)

    def _misconfigured(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"{where(self.alias)}: redis-py can't use its URL or OPTIONS: {hidden(self._redacted(str(error)))}"
        )

    def _redacted(self, text: str) -> str:
        """Return text without secrets, in one line; some servers repeat an AUTH that they don't know."""
        text = _REPEATED.sub("(its arguments aren't shown)", text)
        of_sentinels: Mapping[str, Any] = {} if self.sentinels is None else self.sentinels.arguments
        for name, arguments in product(_SECRETS, (self.arguments, of_sentinels)):
            secret = arguments.get(name)
            secret = secret.decode("utf-8", "replace") if isinstance(secret, bytes) else str(secret or "")
            for form in sorted({secret, quote(secret), quote(secret, safe=""), repr(secret)[1:-1]}, key=len)[::-1]:
                text = text.replace(form, "***") if form else text
        return " ".join(text.split())


def _looked_up(made: Any) -> dict[str, Any]:
    """Return what redis-py 8 would look up in the metadata of its package for each connection anew: its version."""
    driver_info = getattr(made, "driver_info", None)
    return {} if driver_info is None else {"driver_info": driver_info}


def _sentinels(told: SentinelUrl, arguments: dict[str, Any]) -> Sentinels:
    """Return the sentinels of a URL; take the host out of `arguments`, as they name one."""
    kind, of_sentinels = sentinel_arguments(told.plain, arguments)
    del arguments["host"]
    return Sentinels(told.sentinels, told.master, kind, of_sentinels, remap_of(told.plain))


def _address(
    scheme: str, arguments: Mapping[str, Any], directory: Path | None, sentinels: Sentinels | None = None
) -> str:
    database = arguments.get("db", 0)
    if sentinels is not None:
        return f"{scheme}+sentinel://{','.join(map(place, sentinels.addresses))}/{sentinels.master}/{database}"
    if directory is not None:
        return f"embedded://{directory}"
    if scheme == "unix":
        return f"unix://{arguments['path']}?db={database}"
    host = arguments.get("host", "localhost")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{arguments.get('port', 6379)}/{database}"
