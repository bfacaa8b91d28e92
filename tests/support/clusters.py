"""Nodes of clusters, of Valkey."""

import socket
from collections.abc import Callable

from redis.crc import key_slot
from redis.exceptions import MovedError, RedisError

from .servers import Server
from .waiting import wait_until


def node(make_server: Callable[..., Server], key: str, *, whole: bool = False) -> Server:
    """Start a node that has this key's slot alone. A cluster that is to be `whole` is down without the others."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    bus = {"cluster_port": str(port - 10_000 if port > 55_000 else port + 10_000)}
    needs_all = "yes" if whole else "no"
    made = make_server("valkey", port=str(port), cluster_enabled="yes", cluster_require_full_coverage=needs_all, **bus)
    made.raw().execute_command("CLUSTER", "ADDSLOTS", key_slot(key.encode()))
    return made


def node_of_two(make_server: Callable[..., Server]) -> Server:
    """Start a cluster of two; return the node that has "orders", while "tasks" is on the other."""
    first, second = nodes = [node(make_server, key) for key in ("orders", "tasks")]
    for number, each in enumerate(nodes, 1):
        each.raw().execute_command("CLUSTER", "SET-CONFIG-EPOCH", number)
    first.raw().execute_command("CLUSTER", "MEET", "127.0.0.1", second.options["port"], second.options["cluster-port"])
    wait_until(lambda: _moved(first), "the news of the other node's slot")
    return first


def _moved(first: Server) -> bool:
    try:
        first.raw().execute_command("XLEN", "tasks")
    except RedisError as error:
        return isinstance(error, MovedError) or str(error).startswith("MOVED")
    return False
