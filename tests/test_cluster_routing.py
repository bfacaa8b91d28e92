"""What a cluster's links make of nodes that come back, slots that nobody has, and commands that are sent again."""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
from redis.exceptions import RedisError, ResponseError

from django_redis_streams import connections, publish
from django_redis_streams.connections import Link
from django_redis_streams.connections.cluster.links import ClusterPool, RoutingLink
from django_redis_streams.connections.refusals import PartUnreachable, explained
from django_redis_streams.exceptions import ServerUnreachable

from .support.clusters import ClusterSet, Node, node_port, slot_of
from .support.servers import CHOSEN, Server
from .support.waiting import wait_until

# Of these each node of two has some.
NAMES = [f"s{number}" for number in range(8)]
STREAMS: dict[str, Any] = {name: {"GROUPS": {"billing": {}}} for name in NAMES}


@pytest.fixture
def own(make_cluster: Callable[..., ClusterSet], streams: Callable[..., None]) -> ClusterSet:
    """The default connection leads to a cluster of two masters, which the test may change."""
    made = make_cluster(masters=2)
    streams(STREAMS, URL=made.url())
    return made


@pytest.fixture
def link(own: ClusterSet) -> Iterator[RoutingLink]:
    """A link of one's own to all of it."""
    with closing(connections.open(timeout=5)) as made:
        assert isinstance(made, RoutingLink)
        yield made


def address(node: Node) -> tuple[str, int]:
    """Return a node's address, as links know it."""
    return "127.0.0.1", node.port


def other(cluster: ClusterSet, node: Node) -> Node:
    """Return another node than this one."""
    return next(each for each in cluster.masters if each is not node)


def take_away(cluster: ClusterSet, key: str) -> None:
    """Have no node have a key's slot, in nobody's eyes."""
    slot = slot_of(key)

    def unknown() -> bool:
        for each in cluster.nodes:  # one may have just heard from the owner that it has it
            with suppress(RedisError):
                each.ask("DELSLOTS", slot)
        return not any(slot in slots for each in cluster.nodes for slots, _ in each.ranges())

    cluster.node_of(key).ask("DELSLOTS", slot)
    wait_until(unknown, "a slot that nobody has")


# Nodes that come back


def test_a_node_that_is_there_again_is_asked_again(own: ClusterSet, link: RoutingLink) -> None:
    """Though it is asked more often than a failure is believed: what the link remembers is no failure."""
    gone = own.node_of("s0")
    assert link.silent_nodes(5, NAMES) == []
    gone.kill9()
    for _ in range(5):
        (error,) = link.silent_nodes(5, NAMES)
        assert error.node == f"127.0.0.1:{gone.port}"
    gone.start()
    wait_until(lambda: link.silent_nodes(5, NAMES) == [], "an answer of each node", deadline=10)


# Commands that are sent again


WAIT = ("WAIT", 1, 300)


@pytest.fixture
def unlike(own: ClusterSet) -> tuple[Node, Node]:
    """The nodes of the cluster: the one that has "s0", with a replica, and the other, with none."""
    source = own.node_of("s0")
    own.add_replica(source)
    assert connections.get().call_many([("XADD", "s0", "*", "n", 0), ("WAIT", 1, 10_000)])[1] == 1
    return source, other(own, source)


def test_replicas_are_counted_where_a_later_batch_went(own: ClusterSet, unlike: tuple[Node, Node]) -> None:
    """Not at the node that had the slot when the first one was sent."""

    def batches() -> Iterator[list[tuple[str | int, ...]]]:
        for number in range(3):
            if number == 1:
                own.migrate_slot("s0", unlike[1])
            yield [("XADD", "s0", "*", "n", number), WAIT]

    assert [replies[1] for replies in connections.get().call_in_turns(batches())] == [1, 0, 0]
    assert unlike[1].raw().xlen("s0") == 4


@pytest.mark.parametrize("back", [False, True])
def test_replicas_are_counted_where_a_key_of_a_moving_slot_went(
    own: ClusterSet, unlike: tuple[Node, Node], back: bool
) -> None:
    """The node that sends it there (ASK) has executed nothing, so its own replicas don't count, whether it has any."""
    source, target = unlike
    if back:
        own.migrate_slot("s0", target)
        source, target = target, source
        assert connections.get().call("XLEN", "s0") == 1
    move = own.migration("s0", target)
    move.begin()
    move.move()
    replies = connections.get().call_many([("XADD", "s0", "*", "n", 1), WAIT])
    assert replies[1] == int(back)
    move.end()
    assert target.raw().xlen("s0") == 2


def test_a_node_that_has_executed_nothing_counts_no_replicas(own: ClusterSet, unlike: tuple[Node, Node]) -> None:
    """What was sent to a node that had the slot before (MOVED) is confirmed by the replicas of the new one alone."""
    source, target = unlike
    pool = connections.get()
    assert isinstance(pool, ClusterPool)
    own.migrate_slot("s0", target)
    wait_until(lambda: pool.call("XLEN", "s0") == 1 and not pool._topology._doubted, "a map that isn't asked for again")
    own.migrate_slot("s0", source)
    assert pool.call_many([("XADD", "s0", "*", "n", 1), WAIT])[1] == 1


def test_what_waits_for_replicas_follows_its_key(own: ClusterSet, unlike: tuple[Node, Node]) -> None:
    """Also where all that names no key is for one node, which had the slot before."""
    part = connections.get().at("s0")
    own.migrate_slot("s0", unlike[1])
    assert part.call_many([("XADD", "s0", "*", "n", 1), WAIT])[1] == 0
    assert part.call(*WAIT) == 1


def test_what_was_overtaken_is_not_sent_again(own: ClusterSet) -> None:
    """Entries stay in their order: one that wasn't appended fails where a later one of its stream was."""
    pool = connections.get()
    assert isinstance(pool, ClusterPool)
    items = pool._items([*(("XADD", "s0", "*", "n", n) for n in range(3)), ("XLEN", "s0")], None)
    down = explained(ResponseError("CLUSTERDOWN The cluster is down"))
    again = pool._answered(address(own.node_of("s0")), items, [down, "1-1", down, down])
    assert [each.number for each in again] == [2, 3]
    assert isinstance(items[0].reply, PartUnreachable)
    assert "The cluster is down. It wasn't executed." in str(items[0].reply)


def test_a_failed_attempt_to_connect_leaves_idle_connections_in_use(own: ClusterSet) -> None:
    """The node takes no more of them, and goes on answering on those it has."""
    pool, node = connections.get(), own.node_of("s0")
    assert isinstance(pool, ClusterPool)
    operator = node.alone()
    held = pool.lend(address(node))
    most = operator.config_get("maxclients")["maxclients"]
    operator.config_set("maxclients", 1)
    try:
        with pytest.raises(ServerUnreachable, match=f"node 127.0.0.1:{node.port}"):
            pool.lend(address(node))
        pool.take_back(address(node), held)
        assert pool.call("XLEN", "s0") == 0
    finally:
        operator.config_set("maxclients", most)


def test_connections_to_nodes_that_have_left_are_closed(own: ClusterSet) -> None:
    """Also one that is lent, when it is given back."""
    pool, old = connections.get(), own.node_of("s0")
    assert isinstance(pool, ClusterPool)
    for name in NAMES:
        publish(name, {})
    held = pool.lend(address(old))
    own.remove_node(old, own.add_node())
    for name in NAMES:
        publish(name, {})
    wait_until(lambda: _taken_over(pool, address(old)), "a map without the old node")
    pool.take_back(address(old), held)
    assert not held.connected
    assert address(old) not in pool._pools


def _taken_over(pool: ClusterPool, old: tuple[str, int]) -> bool:
    pool.call_many([("XLEN", name) for name in NAMES])
    return old not in pool._pools


# Where the slots are


def test_all_threads_wait_once_for_nodes_that_are_silent(
    make_cluster: Callable[..., ClusterSet], streams: Callable[..., None]
) -> None:
    """One has asked in vain: the next ones don't do that again, one after the other."""
    silent = make_cluster(masters=1)
    streams(STREAMS, URL=silent.url(), OPTIONS={"socket_connect_timeout": 1.0, "socket_timeout": 1.0})
    errors = []

    def work() -> None:
        try:
            publish("s0", {})
        except ServerUnreachable as error:
            errors.append(str(error))

    silent.nodes[0].pause()
    try:
        began = time.monotonic()
        threads = [threading.Thread(target=work) for _ in range(12)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        took = time.monotonic() - began
    finally:
        silent.nodes[0].cont()
    assert len(errors) == 12
    assert all("no node says which node has which slots" in each for each in errors)
    assert took < 6
    wait_until(lambda: _published("s0"), deadline=10)


def _published(name: str) -> bool:
    try:
        publish(name, {})
    except ServerUnreachable:
        return False
    return True


def test_a_slot_that_no_node_has_holds_up_nothing_else(own: ClusterSet, link: RoutingLink) -> None:
    """What is sent about it fails by itself, and what was asked of others is answered."""
    take_away(own, "s0")
    for several in (connections.get(), link):
        replies = lengths(several)
        assert replies.keys() == {*NAMES}
        assert isinstance(replies.pop("s0"), PartUnreachable)
        assert {*replies.values()} == {0}
    (error,) = link.silent_nodes(5, NAMES)
    assert f"no node of the cluster has the slot {slot_of('s0')}" in str(error)


def lengths(link: Link) -> dict[str, Any]:
    """Return the length of each stream, asked node by node, or the error in its place."""
    wait_until(lambda: _unserved(link), "the news that nobody has the slot")
    return {
        name: reply
        for part, theirs in link.by_node(NAMES, str)
        for name, reply in zip(theirs, part.call_many([("XLEN", name) for name in theirs]), strict=True)
    }


def _unserved(link: Link) -> bool:
    with suppress(ServerUnreachable):
        link.call("XLEN", "s0")
        return False
    try:
        link.at("s0")
    except PartUnreachable:
        return True
    return False


def test_known_replies_are_kept_where_no_node_has_a_slot(own: ClusterSet) -> None:
    """The map says so at last, when a command is given up because its node has answered CLUSTERDOWN until then."""
    take_away(own, "s0")
    pool = connections.get()
    assert isinstance(pool, ClusterPool)
    wait_until(lambda: _unserved(pool), "the news that nobody has the slot")
    (item,) = pool._items([("XLEN", "s0")], None)
    item.reply = explained(ResponseError("CLUSTERDOWN Hash slot not served"))
    assert isinstance(pool._given_up(item), PartUnreachable)


def test_known_replies_are_kept_where_an_address_can_not_be_remapped(
    own: ClusterSet, streams: Callable[..., None]
) -> None:
    """What a node has redirected fails by itself: it wasn't executed."""
    source = own.node_of("s0")
    target = other(own, source)
    fails = False

    def remap(announced: tuple[str, int]) -> tuple[str, int]:
        if fails and announced[1] == target.port:
            raise LookupError("unknown")
        return announced

    streams(STREAMS, URL=own.url(), ADDRESS_REMAP=remap)
    theirs = [name for name in NAMES if own.node_of(name) is source]
    assert connections.get().call_many([("XLEN", name) for name in theirs]) == [0] * len(theirs)
    own.migrate_slot("s0", target)
    fails = True
    error, *replies = connections.get().call_many([("XADD", name, "*", "n", 1) for name in theirs])
    assert isinstance(error, PartUnreachable)
    assert "ADDRESS_REMAP" in str(error)
    assert replies
    assert not [each for each in replies if isinstance(each, Exception)]


def test_another_server_at_the_address_of_a_node_that_has_left(
    own: ClusterSet, make_server: Callable[..., Server], streams: Callable[..., None]
) -> None:
    """It is passed over: that it is in no cluster is an error of the settings only as long as no node has answered."""
    port = node_port()
    streams(STREAMS, URL=f"{own.url()},127.0.0.1:{port}")
    assert connections.get().call("XLEN", "s0") == 0
    make_server(port=str(port))
    take_away(own, "s0")  # so all are asked: none of them knows of all slots
    wait_until(lambda: _unserved(connections.get()), "the news that nobody has the slot")
    assert connections.get().call("XLEN", "s1") == 0


def test_who_has_answered_is_told_though_no_node_has_a_slot(
    make_cluster: Callable[..., ClusterSet], streams: Callable[..., None]
) -> None:
    """Nobody has, then; it is no error."""
    made = make_cluster(masters=1)
    place = f"127.0.0.1:{made.nodes[0].port}"
    streams({"orders": {}}, URL=made.url())
    with closing(connections.open(timeout=5)) as link:
        assert link.call("XLEN", "orders") == 0
        assert link.answered_by(place) is not None
        made.nodes[0].ask("FLUSHSLOTS")

        def unserved() -> bool:
            with suppress(ServerUnreachable):
                link.call("XLEN", "orders")
            return link.answered_by(place) is None

        wait_until(unserved, "the news that no node has any slot")


def test_a_node_that_was_reset_does_not_replace_the_map(own: ClusterSet, streams: Callable[..., None]) -> None:
    """It knows of no slots, as it is of no cluster any more. The others come back, and only the map names them."""
    new = own.add_node()
    streams(STREAMS, URL=f"redis+cluster://127.0.0.1:{new.port}")
    publish("s0", {})
    new.ask("RESET", "HARD")
    others = [each for each in own.nodes if each is not new]
    for each in others:
        each.kill9()
    for _ in range(30):
        assert not _published("s0")
        time.sleep(0.02)  # for the map to be asked for again
    for each in others:
        each.start()
    wait_until(lambda: _published("s0"), "the nodes of the map", deadline=20)


@pytest.mark.skipif(CHOSEN == "redis-6.2", reason="Redis before 7.0 gives nodes no names")
def test_a_node_without_a_name_for_clients_is_where_its_ip_address_is(
    make_cluster: Callable[..., ClusterSet], streams: Callable[..., None]
) -> None:
    """Not where the one is that was asked, which says "?" instead of a name that clients should use."""
    made = make_cluster(masters=2, cluster_preferred_endpoint_type="hostname")
    streams(STREAMS, URL=f"redis+cluster://localhost:{made.nodes[0].port}")
    for name in NAMES:
        publish(name, {})
    found = {connections.node("default", name) for name in NAMES}
    assert found == {f"127.0.0.1:{each.port}" for each in made.nodes}


@contextmanager
def slow_way(node: Node, seconds: float) -> Iterator[int]:
    """Yield a port that leads to a node, by which replies come so much later."""

    def pass_on(near: socket.socket) -> None:
        with near, socket.create_connection(address(node)) as far, suppress(OSError):
            while True:
                for source in select.select([near, far], [], [])[0]:
                    if not (data := source.recv(65536)):
                        return
                    if source is far:
                        time.sleep(seconds)  # this is the fault
                    (near if source is far else far).sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=pass_on, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_slow_node_is_waited_for_however_many_may_be_asked(
    make_cluster: Callable[..., ClusterSet], streams: Callable[..., None]
) -> None:
    """Each has its share of the time, which would be too short for all of them in a large cluster."""
    made = make_cluster(masters=1)
    with slow_way(made.nodes[0], 0.15) as port:
        nodes = ",".join(f"127.0.0.1:{each}" for each in (port, *range(1, 30)))
        streams(STREAMS, URL=f"redis+cluster://{nodes}", ADDRESS_REMAP=lambda _: ("127.0.0.1", port))
        wait_until(lambda: _published("s0"), deadline=15)
