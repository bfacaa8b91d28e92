"""Clusters, of one kind of server: their nodes, and what an operator does with slots."""

import os
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
from redis.crc import key_slot
from redis.exceptions import MovedError, RedisError

from .cluster_client import ClusterClient
from .sentinels import HOST, DataServer
from .servers import CHOSEN, Server
from .waiting import wait_until

SLOTS = 16_384
# Whether the server of the run is one of a cluster's nodes: TEST_CLUSTER in the environment, whatever its value.
BY_CLUSTER = "TEST_CLUSTER" in os.environ


def slot_of(key: str) -> int:
    """Return the slot of a key."""
    return int(key_slot(key.encode()))


def node_port() -> int:
    """Return a port that nobody listens at, nor at that of the cluster bus, which is 10,000 above it."""
    while True:
        port = random.randrange(20_000, 22_000)
        with suppress(OSError), socket.create_server((HOST, port)), socket.create_server((HOST, port + 10_000)):
            return port


class Node(DataServer):
    """One node of a cluster. It may be killed, paused and started again like any server, and stays what it is."""

    def __init__(self, kind: str, **options: str | tuple[str, ...]) -> None:
        of_cluster = {"cluster_enabled": "yes", "cluster_node_timeout": "1500", "cluster_require_full_coverage": "no"}
        self._whole: ClusterClient | None = None
        super().__init__(kind, port=node_port(), **{**of_cluster, **options})
        self.id = str(self.ask("MYID"))

    def __repr__(self) -> str:
        return f"<Node at {self.port}>"

    def raw(self) -> redis.Redis:
        """Return an ordinary client; where the node stands for its cluster, one of all nodes."""
        return super().raw() if self.named_by is None or self._whole is None else self._whole

    def stand_for(self, cluster: "ClusterSet") -> None:
        """Have the node's URL and client be those of its cluster."""

        def node_of_slot(slot: int) -> redis.Redis:
            port = next(port for slots, port in self.ranges() if slot in slots)
            return next(each for each in cluster.nodes if each.port == port).alone()

        self.named_by = cluster
        self._whole = ClusterClient(self.alone(), node_of_slot, lambda: [each.alone() for each in cluster.nodes])

    def alone(self) -> redis.Redis:
        """Return an ordinary client of this node alone."""
        return super().raw()

    def ask(self, *words: str | int) -> Any:
        """Return the reply to a command that begins with CLUSTER."""
        return self.alone().execute_command("CLUSTER", *words)

    def meet(self, other: "Node") -> None:
        """Have both be of one cluster, soon."""
        self.ask("MEET", HOST, other.port)

    @property
    def state(self) -> dict[str, str]:
        """What it says of its cluster."""
        return dict(line.split(":", 1) for line in str(self.ask("INFO")).split())

    def ranges(self) -> Iterator[tuple[range, int]]:
        """Yield the slots, as it knows them, each range with the port of its master."""
        for first, last, master, *_ in self.ask("SLOTS"):
            yield range(first, last + 1), int(master[1])


@dataclass(frozen=True)
class Migration:
    """The move of a slot from one master to another, step by step: `begin`, `move` of keys, `end`."""

    cluster: "ClusterSet"
    slot: int
    source: Node
    target: Node

    def begin(self) -> None:
        """From now on the source sends who asks for a key that it doesn't have to the target (ASK)."""
        self.target.ask("SETSLOT", self.slot, "IMPORTING", self.source.id)
        self.source.ask("SETSLOT", self.slot, "MIGRATING", self.target.id)

    @property
    def left(self) -> list[str]:
        """The keys that are still on the source."""
        return sorted(self.source.ask("GETKEYSINSLOT", self.slot, 1000))

    def move(self, *keys: str) -> None:
        """Move these keys, or all that are there."""
        for key in keys or self.left:
            self.source.alone().execute_command("MIGRATE", HOST, self.target.port, key, 0, 5000)

    def end(self) -> None:
        """Give the slot to the target, and tell all masters. The source must have no key of it left."""
        for each in (self.target, self.source, *self.cluster.masters):
            each.ask("SETSLOT", self.slot, "NODE", self.target.id)

    def whole(self) -> None:
        """Do all of it, also while clients make keys."""
        self.begin()
        while self.left:
            self.move()
        self.end()


class ClusterSet:
    """A cluster of some masters, each with so many replicas. It elects another master within about three seconds.

    Without one of its masters it goes on with the slots of the others, unless `options` say otherwise; these are those
    of each node, as of any `Server`.
    """

    rights = ("+cluster|slots",)

    def __init__(
        self, kind: str = CHOSEN, *, masters: int = 3, replicas: int = 0, **options: str | tuple[str, ...]
    ) -> None:
        self.nodes: list[Node] = []
        self.kind, self.options = kind, options
        try:
            for number in range(masters):
                made = self._started()
                made.ask("ADDSLOTS", *range(SLOTS * number // masters, SLOTS * (number + 1) // masters))
                made.ask("SET-CONFIG-EPOCH", number + 1)
                self._meet(made)
            self._settle()
            for master in self.nodes[:masters] * replicas:
                self.add_replica(master, settle=False)
            self._settle()
        except BaseException:
            self.stop()
            raise

    def _started(self) -> Node:
        self.nodes.append(Node(self.kind, **self.options))
        return self.nodes[-1]

    def _meet(self, new: Node) -> None:
        for each in self.running:
            if each is not new:
                each.meet(new)

    def _settle(self) -> None:
        """Wait until all nodes know each other and who has which slot, and replicas have the data."""
        wait_until(lambda: all(map(self._settled, self.running)), "nodes that agree", deadline=30)

    def _settled(self, node: Node) -> bool:
        state = node.state
        known = int(state["cluster_known_nodes"]) == len(self.nodes)
        agrees = state["cluster_state"] == "ok" and sorted(node.ranges(), key=str) == sorted(
            self.running[0].ranges(), key=str
        )
        return known and agrees and (node.role == "master" or node.in_step)

    def url(self, login: str = "", order: Sequence[int] | None = None) -> str:
        """Return the URL of the cluster, with its nodes, or those of these numbers in their order."""
        numbers = range(len(self.nodes)) if order is None else order
        hosts = ",".join(f"{HOST}:{self.nodes[number].port}" for number in numbers)
        return f"redis+cluster://{f'{login}@' if login else ''}{hosts}"

    @property
    def running(self) -> list[Node]:
        """The nodes that weren't killed."""
        return [each for each in self.nodes if each.running]

    @property
    def masters(self) -> list[Node]:
        """The running nodes that say that they are masters, also where they have no slot."""
        return [each for each in self.running if each.role == "master"]

    def replicas_of(self, master: Node) -> list[Node]:
        """Return the running replicas of a master."""
        return [each for each in self.running if each.role == "slave" and each.raw().role()[2] == master.port]

    def node_of(self, key: str) -> Node:
        """Return the master that has a key's slot, in the eyes of most nodes; it may be one that was killed."""
        slot = slot_of(key)
        named = [port for each in self.running for slots, port in each.ranges() if slot in slots]
        return max(self.nodes, key=lambda each: named.count(each.port))

    def key_on(self, node: Node, stem: str = "orders") -> str:
        """Return a name, such as "orders7", whose slot a node has."""
        return next(name for name in (f"{stem}{n}" for n in range(100_000)) if self.node_of(name) is node)

    def migration(self, key: str, to: Node) -> Migration:
        """Return the move of a key's slot, nothing of which is done yet."""
        return Migration(self, slot_of(key), self.node_of(key), to)

    def migrate_slot(self, key: str, to: Node) -> None:
        """Move a key's slot with all its keys."""
        self.migration(key, to).whole()

    def add_node(self) -> Node:
        """Start a master without slots; return it when all nodes know it."""
        self._meet(made := self._started())
        self._settle()
        return made

    def add_replica(self, master: Node, *, settle: bool = True) -> Node:
        """Start a replica of a master; return it when it has the data."""
        self._meet(made := self._started())
        wait_until(lambda: master.id in str(made.ask("NODES")), "a node that knows its master")
        made.ask("REPLICATE", master.id)
        if settle:
            self._settle()
        return made

    def remove_node(self, node: Node, to: Node) -> None:
        """Give a master's slots with all their keys to another, have the others forget the node, and end it."""
        slots = [slot for each, port in node.ranges() if port == node.port for slot in each]
        with node.raw().pipeline(transaction=False) as asked:
            for slot in slots:
                asked.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot)
            counts = asked.execute()
        for slot, count in zip(slots, counts, strict=True):
            if count:
                Migration(self, slot, node, to).whole()
        for each in (to, *self.masters):
            with each.raw().pipeline(transaction=False) as told:
                for slot in slots:
                    told.execute_command("CLUSTER", "SETSLOT", slot, "NODE", to.id)
                # A master without slots becomes a replica by itself.
                told.execute(raise_on_error=each is to)
        self.nodes.remove(node)
        node.stop()
        for each in self.running:
            each.ask("FORGET", node.id)

    def fail_over(self, key: str) -> Node:
        """Have a replica take over the slots of the key's master, which goes on as a replica; return the new master."""
        before = self.node_of(key)
        self.replicas_of(before)[0].ask("FAILOVER")
        return self.await_other(key, before)

    def kill(self, key: str) -> Node:
        """Kill the master that has a key's slot; return it. A replica takes over: see `await_other`."""
        found = self.node_of(key)
        found.kill9()
        return found

    def await_other(self, key: str, before: Node) -> Node:
        """Wait until all running nodes name another master than `before` for a key's slot; return it."""

        def elected() -> bool:
            with suppress(RedisError):
                return all(self._named(each, key) not in (None, before.port) for each in self.running)
            return False

        wait_until(elected, "a new master", deadline=20)
        return self.node_of(key)

    @staticmethod
    def _named(node: Node, key: str) -> int | None:
        return next((port for slots, port in node.ranges() if slot_of(key) in slots), None)

    def as_server(self) -> Node:
        """Return the node of "orders" as the server of a whole run: its URL is the cluster's, and it stops the rest."""
        found = self.node_of("orders")
        found.stand_for(self)
        return found

    def stop(self) -> None:
        """End all of it for good."""
        for each in self.nodes:
            each.stop()


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
