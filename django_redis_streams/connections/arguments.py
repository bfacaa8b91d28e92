"""A connection's URL and OPTIONS, checked, as arguments of redis-py's connection classes.

A URL may hold a password, and in a malformed one nobody can say which part that is: no error here quotes any
of it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, SSLConnection, parse_url
from redis.retry import Retry

from ..conf import ConnectionConfig, shown
from ..embedded.place import SOCKET_PATH_LIMIT
from ..exceptions import ConfigurationError
from .options import OPTIONS

__all__ = ["FIXED_OPTIONS", "arguments_of", "check_options", "checked", "incomprehensible", "where"]

# What a link's promises rest on: replies of one shape, foreign bytes unharmed, no command sent twice and none
# sent unasked.
FIXED_OPTIONS: Final[Mapping[str, Any]] = {
    "protocol": 2,
    "decode_responses": True,
    "encoding": "utf-8",
    "encoding_errors": "surrogateescape",
    "retry": Retry(NoBackoff(), 0),
    "retry_on_error": [],
    "retry_on_timeout": False,
    "health_check_interval": 0,
}
# Options of a pool, passed over: a URL is often shared with the project's cache.
_FOR_POOLS: Final = ("max_connections", "timeout")
_FOR_TLS: Final = "It is for a URL that begins with rediss://."


def where(alias: str) -> str:
    """Return the setting that an error is about, as it stands in the settings."""
    return f"REDIS_STREAMS['CONNECTIONS'][{alias!r}]"


def checked(config: ConnectionConfig) -> SplitResult:
    """Return the parts of a URL that leads where it seems to. Raises `ConfigurationError` for any other.

    An unescaped `/`, `?` or `#` in a password ends the host's part early: the password's head would be taken
    for a port or a host, and shown as such.
    """
    try:
        url = urlsplit(config.url)
        port = url.port
    except ValueError:
        url, port = None, None
    setting = f"{where(config.alias)}['URL']"
    if url is None or port == 0 or _misplaced_at(url):
        raise incomprehensible(setting, "redis://user:password@host:port/database")
    if url.scheme in ("redis", "rediss") and not _database(url):
        raise ConfigurationError(f"{setting} has a path that isn't the number of a database, as in …:6379/0.")
    if url.scheme == "unix":
        _check_socket(setting, unquote(url.path))
    return url


def incomprehensible(setting: str, expected: str) -> ConfigurationError:
    """Return the error about a URL in which nobody can say what is what."""
    return ConfigurationError(
        f"{setting} can't be understood (it isn't shown, for it may hold a password). Expected {expected}, with a port "
        "from 1 to 65535; in a user, password or path, each of @ / ? # % : is written percent-encoded "
        "(urllib.parse.quote(value, safe='') does it)."
    )


def _check_socket(setting: str, path: str) -> None:
    if not path:
        raise ConfigurationError(f"{setting} has no path of a socket, as in unix:///run/valkey/valkey.sock.")
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_LIMIT:
        raise ConfigurationError(
            f"{setting} has the path {shown(path)} of {length} bytes: a socket's may have {SOCKET_PATH_LIMIT}. "
            "Have the server make its socket in a shorter path."
        )


def _misplaced_at(url: SplitResult) -> bool:
    if url.scheme == "embedded":
        return bool(url.fragment) or "@" in url.netloc
    if url.scheme == "unix" and "@" not in url.netloc:
        return bool(url.netloc)
    return "@" in url.path + url.query + url.fragment


def _database(url: SplitResult) -> bool:
    return url.path in ("", "/") or url.path[1:].isdecimal()


def arguments_of(config: ConnectionConfig, kind: type, url: SplitResult) -> dict[str, Any]:
    """Return OPTIONS, and what the URL says, which wins, as arguments of a connection class.

    Raises `ConfigurationError` for an option that is fixed, that the class doesn't take, or that has a wrong value.
    """
    check_options(f"{where(config.alias)}['OPTIONS']", kind, config.options)
    return {**config.options, **_of_url(config, kind, url)}


def check_options(setting: str, kind: type, options: Mapping[str, Any], *, tls: str = _FOR_TLS) -> None:
    """Raise `ConfigurationError` for an option as above; `tls` says what one for TLS asks for where there is none."""
    for name, value in options.items():
        _check_name(setting, kind, name, tls=tls)
        option = OPTIONS.get(name)
        if option is not None and not option.accepts(value):
            raise ConfigurationError(f"{setting}[{name!r}] is {shown(value, name)}: expected {option.expected}.")


def _of_url(config: ConnectionConfig, kind: type, url: SplitResult) -> dict[str, Any]:
    """Return what the URL says, as redis-py reads it, but for the options that `_query` reads."""
    setting = f"{where(config.alias)}['URL']"
    said = _query(setting, kind, url)
    try:
        # An embedded server's path is known only when it runs.
        read: Callable[[str], dict[str, Any]] = parse_url
        found = read(f"unix://?{url.query}" if url.scheme == "embedded" else config.url)
    except ValueError as error:
        # Of redis-py's errors only this one is left, and it names the option alone.
        raise ConfigurationError(f"{setting}: {error}") from None
    ours = {"connection_class", *FIXED_OPTIONS, *_FOR_POOLS}
    found |= {name: value for name, value in said.items() if not (name == "port" and url.port)}
    return {name: value for name, value in found.items() if name not in ours}


def _query(setting: str, kind: type, url: SplitResult) -> dict[str, Any]:
    """Return the options in a URL's query that aren't just text, read as their values."""
    found: dict[str, Any] = {}
    seen: set[str] = set()
    for name, text in parse_qsl(url.query, keep_blank_values=True):
        if name in FIXED_OPTIONS or name in _FOR_POOLS:
            continue
        _check_name(setting, kind, name, in_url=True)
        if name in seen:
            raise ConfigurationError(f"{setting} says {name!r} twice. Remove one of them.")
        seen.add(name)
        if name in OPTIONS:
            value = _read(setting, name, text)
            if not isinstance(value, str):
                found[name] = value
    return found


def _read(setting: str, name: str, text: str) -> Any:
    option = OPTIONS[name]
    if option.read is None:
        raise ConfigurationError(f"{setting} sets {name!r}, which no URL can say. Set it in OPTIONS.")
    try:
        value = option.read(text)
        sound = option.accepts(value)
    except ValueError:
        sound = False
    if not sound:
        raise ConfigurationError(
            f"{setting} has a wrong {name} (it isn't shown, for it may hold a password): expected {option.expected}."
        )
    return value


def _check_name(setting: str, kind: type, name: str, *, in_url: bool = False, tls: str = _FOR_TLS) -> None:
    accepted = _accepted(kind)
    if name in FIXED_OPTIONS:
        fixed = "none" if name.startswith("retry") else repr(FIXED_OPTIONS[name])
        raise ConfigurationError(
            f"{setting} sets {name!r}, which is fixed to {fixed}: without that a message could be published twice or "
            "its bytes be changed. Remove it."
        )
    if name in accepted:
        return
    near = get_close_matches(name, accepted - set(FIXED_OPTIONS), n=1)
    if name in _accepted(SSLConnection) or name == "ssl":
        hint = f" {tls}"
    else:
        hint = f" Did you mean {near[0]!r}?" if near else ""
    # A password that isn't escaped may begin a query; no password resembles the name of an option.
    said = "an unknown option (it isn't shown, for it may be a password)"
    said = said if in_url and not hint else f"the unknown option {shown(name)}"
    raise ConfigurationError(f"{setting} has {said}: redis-py's {kind.__name__.lstrip('_')} doesn't take it.{hint}")


@cache
def _accepted(kind: type) -> frozenset[str]:
    """Return the names of a connection class's arguments, and of its bases', which get what the class doesn't know."""
    bases = [each for each in kind.__mro__ if issubclass(each, AbstractConnection)]
    found = [inspect.signature(each.__init__).parameters.values() for each in bases]
    named = {each.name for parameters in found for each in parameters if each.kind is not each.VAR_KEYWORD}
    return frozenset(named - {"self"})
