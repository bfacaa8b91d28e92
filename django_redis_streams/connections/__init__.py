"""Links to the servers of `REDIS_STREAMS['CONNECTIONS']`: one kept for each thread, or one of the caller's own.

`link` sends and receives on one, `refusals` tells which replies end it; `endpoint` is where it leads, `arguments`
reads URL and OPTIONS, `transport` is what is used of redis-py. `store` knows what a reply means, and the worker when
to come back after an error. `hurry` is for pages and commands, which somebody waits for;
`protocols` finds TLS where none is expected, and the other way round.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver

from .. import conf
from ..conf import ConnectionConfig
from .endpoint import Endpoint
from .hurry import hurried
from .link import KeptLink, Link

__all__ = ["Endpoint", "Link", "address", "close_kept", "get", "hurried", "leading", "open", "server"]

# Each thread's links by alias. A thread that ends lets go of its own, which closes them.
_kept = threading.local()
# Where a connection of the settings leads.
_endpoint_of: Callable[[ConnectionConfig], Endpoint] = Endpoint.of
# By alias, the settings and their endpoint: checking them takes half a millisecond, and threads come and go.
_endpoints: dict[str, tuple[ConnectionConfig, Endpoint]] = {}


def get(alias: str = "default") -> Link:
    """Return this thread's link for short requests (publishing, the admin, commands); it connects when first used.

    It connects again by itself: trying for a moment, and never sending a command a second time. A reply is
    waited for 5 seconds, connecting and logging in 2, unless `socket_timeout` and `socket_connect_timeout` in OPTIONS
    say otherwise. Raises `ConfigurationError` for an alias, URL or OPTIONS that can't work.
    """
    links = _kept.__dict__
    link: Link | None = links.get(alias)
    if link is None:
        link = links[alias] = KeptLink(_endpoint(alias))
    return link


def open(alias: str = "default", *, timeout: float) -> Link:  # noqa: A001  `connections.open` says it best
    """Connect a link of the caller's own. `timeout` is how many seconds a reply may take: above BLOCK.

    Once lost or closed, the link stays so and says so at each call: what was pending on it needs looking after
    before another is opened. Raises `ServerUnreachable` at once where there is no server.
    """
    link = Link(_endpoint(alias), timeout)
    link.connect()
    return link


def close_kept() -> None:
    """Close the links that `get` has given, of all threads; it gives new ones."""
    _drop_links()


def address(alias: str = "default") -> str:
    """Return where a connection leads, printable: scheme, host or path and database, no user and no password."""
    return _endpoint(alias).address


def server(alias: str = "default") -> tuple[str, int | None]:
    """Return the server's host and port, or the path of its socket and None; no user and no password.

    Raises `ConfigurationError` as `get` does.
    """
    return _endpoint(alias).server


def _endpoint(alias: str) -> Endpoint:
    config = conf.connection(alias)
    known = _endpoints.get(alias)
    if known is None or known[0] is not config:
        known = _endpoints[alias] = config, _endpoint_of(config)
    return known[1]


@contextmanager
def leading(endpoint_of: Callable[[ConnectionConfig], Endpoint]) -> Iterator[None]:
    """Lead every connection within it where `endpoint_of` says, in all threads. For tests; it may be nested."""
    global _endpoint_of  # noqa: PLW0603  put back at the end
    outer, _endpoint_of = _endpoint_of, endpoint_of
    _drop_links()
    try:
        yield
    finally:
        _endpoint_of = outer
        _drop_links()


@receiver(setting_changed, dispatch_uid="django_redis_streams.connections")
def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("REDIS_STREAMS", "BASE_DIR"):  # under which an embedded server keeps its data
        _drop_links()


def _drop_links() -> None:
    global _kept  # noqa: PLW0603  replaced whole: that drops the links of all threads at once
    _kept = threading.local()
    _endpoints.clear()
