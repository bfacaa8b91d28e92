"""A connection's URL and OPTIONS, checked, as arguments of redis-py's connection classes.

A URL may hold a password, and where it is malformed nobody can say which part is that: no error here quotes
any of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, parse_url
from redis.retry import Retry

from ..conf import ConnectionConfig
from ..exceptions import ConfigurationError

__all__ = ["OURS", "check_names", "checked", "of_url", "where"]

# What a link's promises rest on: replies of one shape, foreign bytes unharmed, no command sent twice and none
# sent unasked.
OURS: Final[Mapping[str, Any]] = {
    "protocol": 2,
    "decode_responses": True,
    "encoding": "utf-8",
    "encoding_errors": "surrogateescape",
    "retry": Retry(NoBackoff(), 0),
    "retry_on_error": [],
    "retry_on_timeout": False,
    "health_check_interval": 0,
}
# A URL is often shared with the project's cache; these are for a pool's eyes.
_FOR_POOLS: Final = ("max_connections", "timeout")


def where(alias: str) -> str:
    """The place in the settings that an error is about."""
    return f"REDIS_STREAMS['CONNECTIONS'][{alias!r}]"


def checked(config: ConnectionConfig) -> SplitResult:
    """The parts of a URL that leads where it seems to. Raises `ConfigurationError` for any other.

    An unescaped `/`, `?` or `#` in a password ends the host's part early: the password's head would be taken
    for a port or a host, and shown as such.
    """
    try:
        url = urlsplit(config.url)
        _ = url.port
    except ValueError:
        url = None
    place = f"{where(config.alias)}['URL']"
    if url is None or _misplaced_at(url):
        raise ConfigurationError(
            f"{place} can't be understood (it isn't shown, for it may hold a password). Expected "
            "redis://user:password@host:port/database; in a user, password or path, each of @ / ? # % : "
            "is written percent-encoded (urllib.parse.quote(value, safe='') does it)."
        )
    if url.scheme in ("redis", "rediss") and not _database(url):
        raise ConfigurationError(f"{place} has a path that isn't the number of a database, as in …:6379/0.")
    if url.scheme == "unix" and not url.path:
        raise ConfigurationError(f"{place} has no path of a socket, as in unix:///run/valkey/valkey.sock.")
    return url


def _misplaced_at(url: SplitResult) -> bool:
    if url.scheme == "embedded":
        return bool(url.fragment)
    if url.scheme == "unix" and "@" not in url.netloc:
        return bool(url.netloc)
    return "@" in url.path + url.query + url.fragment


def _database(url: SplitResult) -> bool:
    return url.path in ("", "/") or url.path[1:].isdecimal()


def of_url(config: ConnectionConfig, url: SplitResult) -> dict[str, Any]:
    """What the URL says, as redis-py reads it; as there, it wins over OPTIONS."""
    try:
        # An embedded server's path is known when it runs.
        read: Callable[[str], dict[str, Any]] = parse_url
        found = read(f"unix://?{url.query}" if url.scheme == "embedded" else config.url)
    except ValueError as error:
        # Of redis-py's errors only this one is left, and it names the option alone.
        raise ConfigurationError(f"{where(config.alias)}['URL']: {error}") from None
    ours = {"connection_class", *OURS, *_FOR_POOLS}
    return {name: value for name, value in found.items() if name not in ours}


def check_names(config: ConnectionConfig, kind: type, names: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` for an option that is ours to set, or that the connection class doesn't take."""
    accepted = _accepted(kind)
    for name in names:
        if name in OURS:
            raise ConfigurationError(
                f"{where(config.alias)}['OPTIONS'] sets {name!r}, which is fixed to {_shown(name)}: without "
                "that a message could be published twice or its bytes be changed. Remove it."
            )
        if name not in accepted:
            near = get_close_matches(name, accepted - set(OURS), n=1)
            raise ConfigurationError(
                f"{where(config.alias)} has the unknown option {name!r}: redis-py's {kind.__name__.lstrip('_')} "
                f"doesn't take it.{f' Did you mean {near[0]!r}?' if near else ''}"
            )


def _shown(name: str) -> str:
    return "none" if name.startswith("retry") else repr(OURS[name])


@cache
def _accepted(kind: type) -> frozenset[str]:
    """The names of a connection class's arguments, its bases' included: they hand on what they don't know."""
    bases = [each for each in kind.__mro__ if issubclass(each, AbstractConnection)]
    found = [inspect.signature(each.__init__).parameters.values() for each in bases]
    named = {each.name for parameters in found for each in parameters if each.kind is not each.VAR_KEYWORD}
    return frozenset(named - {"self"})
