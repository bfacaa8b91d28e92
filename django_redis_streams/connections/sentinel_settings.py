"""What the settings say of sentinels, checked: their addresses and the master's name, by the URL, and their options.

No error here quotes any part of a URL, as in `arguments`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from redis.connection import Connection, SSLConnection

from ..conf import ConnectionConfig, shown
from ..exceptions import ConfigurationError
from .addresses import Address, Kind, addresses, check_place, split
from .arguments import FIXED_OPTIONS, check_options, where

__all__ = ["SentinelUrl", "read_url", "sentinel_arguments"]

_KIND: Final = Kind(
    "a sentinel", 26379, "master", "redis+sentinel://user:password@host:port,host:port/name-of-the-master/database"
)
# What their addresses say, or what has no meaning for them.
_NOT_SENTINEL_OPTIONS: Final = ("host", "port", "path", "db")
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
    parts = split(setting, config.url, _KIND)
    text, slash, database = parts.path.removeprefix("/").partition("/")
    sentinels = tuple(addresses(setting, parts.hosts, _KIND))
    master = _master(setting, text, slash)
    plain = replace(config, url=parts.leading_to(_KIND.host, f"{slash}{database}"))
    return SentinelUrl(sentinels, master, plain)


def _master(setting: str, text: str, slash: str) -> str:
    name = unquote(text)
    if not name or (name.isdecimal() and not slash):
        raise ConfigurationError(
            f"{setting} doesn't name the master. Expected the name that the sentinels know it by, before the database, "
            f"as in {_KIND.form}."
        )
    if not name.isprintable() or " " in name or "/" in name:
        raise ConfigurationError(f"{setting} names a master with a character that no name of one may have.")
    return name


def sentinel_arguments(config: ConnectionConfig, arguments: Mapping[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    """Return the class and the arguments of connections to sentinels, of `arguments` those that are for both.

    Raises `ConfigurationError` for an option that can't be, also for one of the master that the sentinels say.
    """
    check_place(config, _KIND)
    options = dict(config.sentinel_options)
    tls = options.pop("ssl", False)
    setting = f"{where(config.alias)}['SENTINEL_OPTIONS']"
    if not isinstance(tls, bool):
        raise ConfigurationError(f"{setting}['ssl'] is {shown(tls)}: expected True or False.")
    for name in _NOT_SENTINEL_OPTIONS:
        if name in options:
            raise ConfigurationError(f"{setting} sets {name!r}, which is none for sentinels. Remove it.")
    kind = SSLConnection if tls else Connection
    check_options(setting, kind, options, tls="It is for sentinels with TLS: set 'ssl' to True.")
    shared = {name: arguments[name] for name in _SHARED if name in arguments}
    return kind, {**shared, **options, **FIXED_OPTIONS}
