"""Links to the servers of `REDIS_STREAMS['CONNECTIONS']`: those of the process, or one of the caller's own.

`link` sends and receives on one connection, `pool` keeps the process' and lends them, `refusals` tells which replies
end a connection; `endpoint` is where it leads, `arguments` reads URL and OPTIONS, `transport` is what is used of
redis-py. Where the URL names sentinels, `sentinels` finds the master that an endpoint leads to, each time that a link
connects. Where it names nodes of a cluster, `cluster` sends each command to the node that has its key.
`sentinel_settings` and `cluster_settings` read what the settings say of them, `addresses` what both share. `store`
knows what a reply means, and the worker when to come back after an error. `hurry` is for pages and commands, which
somebody waits for; `protocols` finds TLS where none is expected, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver

from .. import conf
from ..conf import ConnectionConfig
from ..exceptions import ServerUnreachable
from .cluster.links import ClusterPool, KeyedLink, RoutingLink
from .cluster.topology import Topology
from .endpoint import Endpoint
from .hurry import hurried
from .link import Link, OpenLink
from .pool import Pool

__all__ = [
    "Endpoint",
    "Link",
    "OpenLink",
    "address",
    "close_kept",
    "get",
    "hurried",
    "leading",
    "node",
    "open",
    "open_at",
    "reply_timeout",
    "server",
]

# The connections that the process keeps, by alias.
_pools: dict[str, Pool | ClusterPool] = {}
# Where a connection of the settings leads.
_endpoint_of: Callable[[ConnectionConfig], Endpoint] = Endpoint.of
# By alias, the settings and their endpoint: checking them takes half a millisecond. And, of a cluster, what is known of
# it.
_endpoints: dict[str, tuple[ConnectionConfig, Endpoint]] = {}
_topologies: dict[str, Topology] = {}


def get(alias: str = "default") -> Link:
    """Return the process' link for short requests (publishing, the admin, commands), for all threads.

    Each exchange on it borrows a connection that the process keeps. It connects by itself: trying for a moment, and
    never sending a command a second time. A reply is waited for 5 seconds, connecting and logging in 2, unless
    `socket_timeout` and `socket_connect_timeout` in OPTIONS say otherwise. Raises `ConfigurationError` for an alias,
    URL or OPTIONS that can't work.
    """
    pools = _pools
    pool = pools.get(alias)
    if pool is None:
        pool = pools.setdefault(alias, _pool(alias))  # the first thread's, where two come at once
    return pool


def open(  # noqa: A001  `connections.open` says it best
    alias: str = "default", *, timeout: float, key: str | None = None
) -> OpenLink:
    """Connect a link of the caller's own. `timeout` is how many seconds a reply may take: above BLOCK.

    In a cluster it leads to the node that has the slot of the `key`: all that is sent is about keys of that slot.
    Without a key it sends each command to the node that has its key; then it can't `send` without waiting.

    Once lost or closed, the link stays so and says so at each call: what was pending on it needs looking after
    before another is opened. Raises `ServerUnreachable` at once where there is no server.
    """
    endpoint = _endpoint(alias)
    if endpoint.nodes and key is not None:
        return KeyedLink.opened(_topology(alias, endpoint), key, timeout)
    return open_at(endpoint, timeout=timeout)


def open_at(endpoint: Endpoint, *, timeout: float) -> OpenLink:
    """Connect a link as `open` does without a key, to where an endpoint leads."""
    topology = _topology(endpoint.alias, endpoint) if endpoint.nodes else None
    link = OpenLink(endpoint, timeout) if topology is None else RoutingLink(topology, timeout)
    link.connect()
    return link


def close_kept() -> None:
    """Close the connections that the process keeps, a lent one when it is given back. `get` makes new ones.

    Where they lead stays known.
    """
    _drop_pools()


def address(alias: str = "default") -> str:
    """Return where a connection leads, printable: scheme, host or path and database, no user and no password.

    Of sentinels it names all, and their master: it stays the same when another server becomes that. Of a cluster it
    names the nodes that the URL names.
    """
    return _endpoint(alias).address


def server(alias: str = "default") -> tuple[str, int | None]:
    """Return the server's host and port, or the path of its socket and None; no user and no password.

    Of sentinels it returns the name of their master, and None; of a cluster the first node of the URL. Raises
    `ConfigurationError` as `get` does.
    """
    return _endpoint(alias).server


def node(alias: str, key: str) -> str:
    """Return the address of the node of a cluster that has a key; "" for a single server, and where nobody knows it."""
    endpoint = _endpoint(alias)
    if not endpoint.nodes:
        return ""
    try:
        return get(alias).at(key).node
    except ServerUnreachable:
        return ""


def reply_timeout(alias: str = "default") -> float | None:
    """Return for how many seconds `get` has a reply waited for; None for ever. Raises as `get` does."""
    return _endpoint(alias).timeout


def connect_timeout(alias: str = "default") -> float | None:
    """Return for how many seconds `get` tries to connect; None where that isn't bounded. Raises as `get` does."""
    return _endpoint(alias).connect_timeout


def _endpoint(alias: str) -> Endpoint:
    config = conf.connection(alias)
    known = _endpoints.get(alias)
    if known is None or known[0] is not config:
        known = _endpoints[alias] = config, _endpoint_of(config)
    return known[1]


def _pool(alias: str) -> Pool | ClusterPool:
    endpoint = _endpoint(alias)
    return ClusterPool(_topology(alias, endpoint)) if endpoint.nodes else Pool(endpoint)


def _topology(alias: str, endpoint: Endpoint) -> Topology:
    known = _topologies.get(alias)
    if known is None or known.endpoint is not endpoint:
        known = _topologies[alias] = Topology(endpoint)
    return known


@contextmanager
def leading(endpoint_of: Callable[[ConnectionConfig], Endpoint]) -> Iterator[None]:
    """Lead every connection within it where `endpoint_of` says, in all threads. For tests; it may be nested."""
    global _endpoint_of  # noqa: PLW0603  put back at the end
    outer, _endpoint_of = _endpoint_of, endpoint_of
    _forget_endpoints()
    try:
        yield
    finally:
        _endpoint_of = outer
        _forget_endpoints()


@receiver(setting_changed, dispatch_uid="django_redis_streams.connections")
def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("REDIS_STREAMS", "BASE_DIR"):  # under which an embedded server keeps its data
        _forget_endpoints()


def _forget_endpoints() -> None:
    _endpoints.clear()
    _topologies.clear()
    _drop_pools()


def _drop_pools() -> None:
    global _pools  # replaced whole, so that nobody finds what a thread still adds to the old ones
    dropped, _pools = _pools, {}
    for pool in list(dropped.values()):
        pool.close()
