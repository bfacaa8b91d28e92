"""Several servers in one URL, and what turns an address that servers announce into one that can be reached.

No error here quotes any part of a URL, as in `arguments`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from django.utils.module_loading import import_string

from ..conf import ConnectionConfig
from ..exceptions import ConfigurationError
from .arguments import incomprehensible, where
from .options import OPTIONS

__all__ = ["Address", "Kind", "Parts", "Remap", "addresses", "check_place", "place", "remap_of", "split"]

Address = tuple[str, int]

_HOST: Final = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>.*))?")
# What says where a server is.
_PLACE: Final = ("host", "port", "path")


class Kind(NamedTuple):
    """What a URL names several of: `what` each is, as in "a node"; the `port` that is theirs by default.

    `host` stands for the server that they lead to, `form` is how such a URL is written.
    """

    what: str
    port: int
    host: str
    form: str


class Parts(NamedTuple):
    """The parts of a URL as text; `scheme` is that of one server, `query` has its question mark."""

    scheme: str
    login: str
    hosts: str
    path: str
    query: str

    def leading_to(self, host: str, path: str) -> str:
        """Return the URL of one server, with this user, password and options."""
        return f"{self.scheme}://{self.login}{host}{path}{self.query}"


def split(setting: str, url: str, kind: Kind) -> Parts:
    """Return the parts of a URL. Raises `ConfigurationError` where nobody can say what is what."""
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    path, mark, query = rest[len(authority) :].partition("?")
    login, at, hosts = authority.rpartition("@")
    if "@" in path + query or "#" in path + query:
        raise incomprehensible(setting, kind.form)
    return Parts(scheme.partition("+")[0], f"{login}{at}", hosts, path, f"{mark}{query}")


def addresses(setting: str, hosts: str, kind: Kind) -> Iterator[Address]:
    """Yield the addresses, which commas part. Raises `ConfigurationError` for one that can't be, or for none at all."""
    if not hosts.strip(","):
        raise ConfigurationError(f"{setting} names no {kind.what.partition(' ')[2]}. Expected {kind.form}.")
    for number, text in enumerate(hosts.split(","), 1):
        found = _HOST.fullmatch(text)
        if found is None or (found["v6"] and ":" not in found["v6"]):
            raise ConfigurationError(
                f"{setting} has an address of {kind.what}, number {number}, that can't be understood (it isn't shown, "
                f"for it may hold a password). Expected host:port, with an IPv6 address in brackets, as in "
                f"[2001:db8::5]:{kind.port}; commas between them."
            )
        port = found["port"]
        if port is not None and not (port.isascii() and port.isdecimal() and OPTIONS["port"].accepts(int(port[:6]))):
            raise ConfigurationError(
                f"{setting} has an address of {kind.what}, number {number}, whose port isn't a number from 1 to 65535 "
                f"(it isn't shown, for it may be a password). Without a port it is {kind.port}."
            )
        yield unquote(found["v6"] or found["name"]), kind.port if port is None else int(port)


def check_place(config: ConnectionConfig, kind: Kind) -> None:
    """Raise `ConfigurationError` for an option that says where the server is: what the URL names says it."""
    query = {name for name, _ in parse_qsl(config.url.partition("?")[2], keep_blank_values=True)}
    for name in _PLACE:
        if name in config.options or name in query:
            raise ConfigurationError(
                f"{where(config.alias)} sets {name!r} in OPTIONS or in the query of URL, which the "
                f"{kind.what.partition(' ')[2]}s say. Remove it."
            )


def place(address: Address) -> str:
    """Return an address as a URL has it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Remap:
    """Turns the address that servers announce into the one to connect to; without a function they are the same."""

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
