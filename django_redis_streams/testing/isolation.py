"""A server for each test, or at least a key prefix: no test finds the messages of another."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Final

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
# In seconds: how long the server may take for each command that erases what a test has left.
_TIMEOUT: Final = 5.0
SERVERS: Final = (*_LEADS, "off")


@contextmanager
def isolated(server: str = "fake") -> Iterator[None]:
    """Within it, connections lead to `server`, and every key has a unique prefix, also where a test sets REDIS_STREAMS.

    "fake" is a new fakeredis, in memory; "embedded" is a Valkey of this process; "configured" is the server of the
    settings, where all keys with the prefix are deleted at the end; "off" changes nothing, and records nothing. The
    first two have no replicas, so they don't look at MIN_REPLICAS.
    Raises `ValueError` for another word, `ExtraMissing` where fakeredis isn't installed.
    """
    if server == "off":
        yield
        return
    if server not in _LEADS:
        raise ValueError(f"server={server!r}: expected one of {', '.join(map(repr, SERVERS))}.")
    lead, used = _LEADS[server](), list[tuple[Endpoint, str]]()

    def noted(config: ConnectionConfig) -> Endpoint:
        used.append((lead(config), config.key_prefix))
        return used[-1][0]

    with connections.leading(noted), conf.prefixed(_own_prefix(), with_replicas=server == "configured"), recording():
        try:
            yield
        finally:
            # An unused connection has nothing to erase, and its server needn't be there.
            for endpoint, prefix in used if server != "fake" else ():
                _erase(endpoint, prefix)


def _erase(endpoint: Endpoint, prefix: str) -> None:
    link = connections.open_at(endpoint, timeout=_TIMEOUT)
    erase(link, prefix)
    link.close()


def _own_prefix() -> str:
    return f"test-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{secrets.token_hex(6)}"


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    """Return the servers' directory. The process shares one until its end, as a server takes a moment to start."""
    return tempfile.TemporaryDirectory(prefix="streams-", ignore_cleanup_errors=True)


def _embedded(config: ConnectionConfig) -> Endpoint:
    url = f"embedded://{_directory().name}/{config.alias}"
    return Endpoint.of(replace(config, url=url, options={}))
