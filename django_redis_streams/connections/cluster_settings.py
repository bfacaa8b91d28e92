"""What the settings say of a cluster, checked: nodes of it, by the URL, and what connections to any node share.

No error here quotes a host, a user or a password of a URL, as in `arguments`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from ..conf import ConnectionConfig
from ..exceptions import ConfigurationError
from .addresses import Address, Kind, addresses, check_place, split
from .arguments import where

__all__ = ["ClusterUrl", "node_arguments", "read_url"]

_KIND: Final = Kind("a node", 6379, "node", "redis+cluster://user:password@host:port,host:port")
# The one database of a cluster, as a path.
_PATHS: Final = ("", "/", "/0")


class ClusterUrl(NamedTuple):
    """A URL's nodes, by which the others are found; `plain` is the connection as if its URL led to one of them.

    No server's address is in `plain`: its host stands for that of a node.
    """

    nodes: tuple[Address, ...]
    plain: ConnectionConfig


def read_url(config: ConnectionConfig) -> ClusterUrl:
    """Return what a URL says of a cluster. Raises `ConfigurationError` for one that can't be understood."""
    setting = f"{where(config.alias)}['URL']"
    parts = split(setting, config.url, _KIND)
    nodes = tuple(addresses(setting, parts.hosts, _KIND))
    if parts.path not in _PATHS:
        number = parts.path[1:]
        if not (number.isascii() and number.isdecimal()):
            raise ConfigurationError(
                f"{setting} has a path that isn't 0 (it isn't shown, for it may be a password): a cluster has database "
                f"0 alone. Expected {_KIND.form}."
            )
        raise _other_database(setting, number)
    return ClusterUrl(nodes, replace(config, url=parts.leading_to(_KIND.host, "/0")))


def node_arguments(config: ConnectionConfig, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of connections to any node: `arguments` of a `plain` one, but for its host.

    Raises `ConfigurationError` for an option that says where a node is, or that names another database than 0.
    """
    check_place(config, _KIND)
    for found in (config.options.get("db"), arguments.get("db")):
        if found:
            raise _other_database(f"{where(config.alias)}, in OPTIONS or in the query of URL,", found)
    return {name: value for name, value in arguments.items() if name != "host"}


def _other_database(setting: str, number: object) -> ConfigurationError:
    return ConfigurationError(
        f"{setting} names the database {number}: a cluster has database 0 alone. Remove the number. KEY_PREFIX keeps "
        "projects apart that share a cluster."
    )
