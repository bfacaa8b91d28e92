"""What the settings say of sentinels, checked: their addresses and the master's name, by the URL, and their options.

No error here quotes any part of a URL, as in `arguments`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from django.utils.module_loading import import_string
from redis.connection import Connection, SSLConnection

from ..conf import ConnectionConfig, shown
from ..exceptions import ConfigurationError
from .arguments import FIXED_OPTIONS, check_options, incomprehensible, where
from .options import OPTIONS

__all__ = ["Remap", "SentinelUrl", "read_url", "remap_of", "sentinel_arguments"]

Address = tuple[str, int]

# Where sentinels listen, unless they were told otherwise.
_PORT: Final = 26379
_FORM: Final = "redis+sentinel://user:password@host:port,host:port/name-of-the-master/database"
_HOST: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>.*))?")
# What the sentinels say, or what has no meaning for them.
_NOT_OPTIONS: Final = ("host", "port", "path")
_NOT_SENTINEL_OPTIONS: Final = (*_NOT_OPTIONS, "db")
# Options of the connection that sentinels share, unless SENTINEL_OPTIONS says otherwise: those about the network.
_SHARED: Final = ("socket_connect_timeout", "socket_keepalive", "socket_keepalive_options", "socket_type")


class SentinelUrl(NamedTuple):
    """A URL's sentinels and the name of their master; `plain` is the connection as if its URL led to that master.

    No server's address is in `plain`: its host stands for the one that the sentinels name.
    """

    sentinels: tuple[Address, ...]
    master: str
    plain: ConnectionConfig


def read_url(config: ConnectionConfig) -> SentinelUrl:
    """Return what a URL says of sentinels. Raises `ConfigurationError` for one that can't be understood."""
    setting = f"{where(config.alias)}['URL']"
    scheme, _, rest = config.url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    path, mark, query = rest[len(authority) :].partition("?")
    login, at, hosts = authority.rpartition("@")
    if "@" in path + query or "#" in path + query:
        raise incomprehensible(setting, _FORM)
    master, slash, database = path.removeprefix("/").partition("/")
    plain = f"{scheme.removesuffix('+sentinel')}://{login}{at}master{slash}{database}{mark}{query}"
    return SentinelUrl(tuple(_sentinels(setting, hosts)), _master(setting, master, slash), replace(config, url=plain))


def _sentinels(setting: str, hosts: str) -> Iterator[Address]:
    if not hosts.strip(","):
        raise ConfigurationError(f"{setting} names no sentinel. Expected {_FORM}.")
    for number, text in enumerate(hosts.split(","), 1):
        found = _HOST.fullmatch(text)
        if found is None or (found["v6"] and ":" not in found["v6"]):
            raise ConfigurationError(
                f"{setting} has an address of a sentinel, number {number}, that can't be understood (it isn't shown, "
                f"for it may hold a password). Expected host:port, with an IPv6 address in brackets, as in "
                "[2001:db8::5]:26379; commas between them."
            )
        port = found["port"]
        if port is not None and not (port.isascii() and port.isdecimal() and OPTIONS["port"].accepts(int(port[:6]))):
            raise ConfigurationError(
                f"{setting} has an address of a sentinel, number {number}, whose port isn't a number from 1 to 65535 "
                f"(it isn't shown, for it may be a password). Without a port it is {_PORT}."
            )
        yield unquote(found["v6"] or found["name"]), _PORT if port is None else int(port)


def _master(setting: str, text: str, slash: str) -> str:
    name = unquote(text)
    if not name or (name.isdecimal() and not slash):
        raise ConfigurationError(
            f"{setting} doesn't name the master. Expected the name that the sentinels know it by, before the database, "
            f"as in {_FORM}."
        )
    if not name.isprintable() or " " in name or "/" in name:
        raise ConfigurationError(f"{setting} names a master with a character that no name of one may have.")
    return name


def sentinel_arguments(config: ConnectionConfig, arguments: Mapping[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    """Return the class and the arguments of connections to sentinels, of `arguments` those that are for both.

    Raises `ConfigurationError` for an option that can't be, also for one of the master that the sentinels say.
    """
    setting = where(config.alias)
    for name in _NOT_OPTIONS:
        if name in config.options or arguments.get(name, "master") != "master":
            raise ConfigurationError(
                f"{setting} sets {name!r} in OPTIONS or in the query of URL, which the sentinels say. Remove it."
            )
    options = dict(config.sentinel_options)
    tls = options.pop("ssl", False)
    setting = f"{setting}['SENTINEL_OPTIONS']"
    if not isinstance(tls, bool):
        raise ConfigurationError(f"{setting}['ssl'] is {shown(tls)}: expected True or False.")
    for name in _NOT_SENTINEL_OPTIONS:
        if name in options:
            raise ConfigurationError(f"{setting} sets {name!r}, which is none for sentinels. Remove it.")
    kind = SSLConnection if tls else Connection
    check_options(setting, kind, options, tls="It is for sentinels with TLS: set 'ssl' to True.")
    shared = {name: arguments[name] for name in _SHARED if name in arguments}
    return kind, {**shared, **options, **FIXED_OPTIONS}


class Remap:
    """Turns the address that sentinels announce into the one to connect to; without a function they are the same."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, address: Address) -> Address:
        """Return the address to connect to. Raises `ValueError` where the function fails or returns none."""
        if self._function is None:
            return address
        name = getattr(self._function, "__qualname__", type(self._function).__name__)
        try:
            found = self._function(address)
        except Exception as error:
            raise ValueError(f"ADDRESS_REMAP {name} raised {type(error).__name__}: {error}") from error
        try:
            host, port = found
        except (TypeError, ValueError):
            host, port = None, None
        if not (OPTIONS["host"].accepts(host) and OPTIONS["port"].accepts(port)):
            raise ValueError(f"ADDRESS_REMAP {name} returned {found!r}: expected (host, port)")
        return host, port


def remap_of(config: ConnectionConfig) -> Remap:
    """Return the ADDRESS_REMAP of a connection. Raises `ConfigurationError` where it can't be imported."""
    function = config.address_remap
    if not isinstance(function, str):
        return Remap(function)
    setting = f"{where(config.alias)}['ADDRESS_REMAP']"
    try:
        found = import_string(function)
    except Exception as error:  # whatever the module raises
        raise ConfigurationError(f"{setting} is {function!r}, which can't be imported: {error}") from error
    if not callable(found):
        raise ConfigurationError(f"{setting} is {function!r}, which is no function, but {found!r}.")
    return Remap(found)
