"""A server for each test, or at least a key prefix: no test finds the messages of another."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.test import override_settings

from .. import conf, connections
from ..conf import ConnectionConfig
from ..connections import Endpoint
from ..connections.fake import fake_servers
from ..store.operate.erase import erase
from .published import recording

__all__ = ["SERVERS", "isolated"]

# For each option, a function that makes the function that resolves connections.
_LEADS: Final[Mapping[str, Callable[[], Callable[[ConnectionConfig], Endpoint]]]] = {
    "fake": fake_servers,
    "embedded": lambda: _embedded,
    "configured": lambda: Endpoint.of,
}
SERVERS: Final = (*_LEADS, "off")


@contextmanager
def isolated(server: str = "fake") -> Iterator[None]:
    """Within it, connections lead to `server`, and every key has a unique prefix.

    "fake" is a new fakeredis, in memory; "embedded" is a Valkey of this process; "configured" is the server of the
    settings, where all keys with the prefix are deleted at the end; "off" changes nothing, and records nothing.
    Raises `ValueError` for another word, `ExtraMissing` where fakeredis isn't installed.
    """
    if server == "off":
        yield
        return
    if server not in _LEADS:
        raise ValueError(f"server={server!r}: expected one of {', '.join(map(repr, SERVERS))}.")
    lead, used = _LEADS[server](), set[str]()

    def noted(config: ConnectionConfig) -> Endpoint:
        used.add(config.alias)
        return lead(config)

    with connections.leading(noted), _own_prefix(), recording():
        try:
            yield
        finally:
            # An unused connection has nothing to erase, and its server needn't be there.
            for alias in used if server != "fake" else ():
                erase(connections.get(alias), conf.connection(alias).key_prefix)


@contextmanager
def _own_prefix() -> Iterator[None]:
    given: Any = getattr(settings, "REDIS_STREAMS", None)
    own = f"test-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{secrets.token_hex(6)}"
    with override_settings(REDIS_STREAMS=_prefixed(given, own)):
        yield


def _prefixed(given: Any, own: str) -> Any:
    """Put the prefix into every connection of the settings; leave wrong settings as they are, for their own errors."""
    declared = given.get("CONNECTIONS") if isinstance(given, Mapping) else None
    if not isinstance(declared, Mapping):
        return given
    return {**given, "CONNECTIONS": {alias: _with_prefix(each, own) for alias, each in declared.items()}}


def _with_prefix(connection: Any, own: str) -> Any:
    if not isinstance(connection, Mapping):
        return connection
    before = connection.get("KEY_PREFIX", "")
    return {**connection, "KEY_PREFIX": f"{before}:{own}" if before else own}


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    """Return the servers' directory. The process shares one until its end, as a server takes a moment to start."""
    return tempfile.TemporaryDirectory(prefix="streams-", ignore_cleanup_errors=True)


def _embedded(config: ConnectionConfig) -> Endpoint:
    url = f"embedded://{_directory().name}/{config.alias}"
    return Endpoint.of(replace(config, url=url, options={}))
