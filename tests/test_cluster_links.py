"""Links to a cluster: each command goes to the node that has its key, wherever that is by then, and is done once."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from redis.exceptions import ResponseError

from django_redis_streams import apublish, connections, inspection, publish, publish_many
from django_redis_streams.admin.problems import error_text
from django_redis_streams.connections.refusals import PartUnreachable
from django_redis_streams.exceptions import ConfigurationError, ServerUnreachable
from django_redis_streams.store.consume.asking import ask_each

from .support.clusters import ClusterSet, Node, slot_of
from .support.sentinels import DataServer
from .support.servers import Server
from .support.waiting import wait_until

# Of these each node of three has some.
NAMES = [f"s{number}" for number in range(8)]
STREAMS: dict[str, Any] = {name: {"GROUPS": {"billing": {}}} for name in NAMES}


@pytest.fixture(scope="module")
def shared() -> Iterator[ClusterSet]:
    """Three masters, for all tests here that leave nodes and slots as they are."""
    made = ClusterSet()
    yield made
    made.stop()


@pytest.fixture
def cluster(shared: ClusterSet, streams: Callable[..., None]) -> ClusterSet:
    """The default connection leads to an empty cluster."""
    for each in shared.nodes:
        each.raw().flushall()
    streams(STREAMS, URL=shared.url())
    return shared


@pytest.fixture
def own(make_cluster: Callable[..., ClusterSet], streams: Callable[..., None]) -> ClusterSet:
    """The same, for a test that changes the cluster."""
    made = make_cluster()
    streams(STREAMS, URL=made.url())
    return made


@contextmanager
def stopped(server: Server) -> Iterator[Any]:
    """Stop a server at the end."""
    try:
        yield server
    finally:
        server.stop()


def other(cluster: ClusterSet, node: Node) -> Node:
    """Return another node than this one."""
    return next(each for each in cluster.masters if each is not node)


def lengths(cluster: ClusterSet) -> dict[str, int]:
    """Return the length of each stream, as its node says."""
    return {name: cluster.node_of(name).raw().xlen(name) for name in NAMES}


def test_what_is_published_is_on_the_node_of_its_stream(cluster: ClusterSet) -> None:
    """Whichever node the URL names first."""
    assert {cluster.node_of(name).port for name in NAMES} == {each.port for each in cluster.nodes}
    for name in NAMES:
        publish(name, {"n": 1})
        publish_many(name, ({"n": n} for n in range(600)))
        publish(name, {"n": 2}, delay=60)
    assert set(lengths(cluster).values()) == {601}
    assert {cluster.node_of(name).raw().zcard(f"{{{name}}}:delayed") for name in NAMES} == {1}
    entries = cluster.node_of("s0").raw().xrange("s0")
    assert [fields["data"] for _, fields in entries[1:]] == [f'{{"n":{n}}}' for n in range(600)]


def test_one_node_of_the_url_is_enough(cluster: ClusterSet, streams: Callable[..., None]) -> None:
    """As where a configuration endpoint leads to any of them. One that is away is passed over."""
    streams(STREAMS, URL=f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.nodes[2].port}")
    for name in NAMES:
        publish(name, {"n": 1})
    assert set(lengths(cluster).values()) == {1}


@pytest.mark.usefixtures("cluster")
def test_replies_come_in_the_order_of_the_commands() -> None:
    """Of all nodes together, errors in their places. What names no key goes where its neighbours go."""
    link = connections.get()
    commands: list[tuple[str | int, ...]] = [("SET", name, name) for name in NAMES]
    commands += [("GET", name) for name in NAMES] + [("XLEN", "s3"), ("TIME",)]
    *replies, error, now = link.call_many(commands)
    assert replies == ["OK"] * len(NAMES) + NAMES
    assert "WRONGTYPE" in str(error)
    assert len(now) == 2
    assert link.call_many([]) == []
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        link.call("XLEN", "s3")


@pytest.mark.usefixtures("cluster")
def test_threads_share_the_link() -> None:
    """And coroutines."""

    def work(name: str) -> None:
        for number in range(50):
            connections.get().call("XADD", name, "*", "n", number)

    threads = [threading.Thread(target=work, args=(name,)) for name in NAMES]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    asyncio.run(apublish("s1", {"n": 50}))
    assert connections.get().call_many([("XLEN", name) for name in NAMES]) == [50, 51, *[50] * 6]


def test_a_link_of_ones_own_leads_to_the_node_of_a_key(cluster: ClusterSet) -> None:
    """One without a key leads to all of them."""
    for name in NAMES:
        with closing(connections.open(timeout=5, key=name)) as link:
            assert link.node == f"127.0.0.1:{cluster.node_of(name).port}"
            link.send([("SET", name, name)])
            assert link.receive(1) == ["OK"]
    with closing(connections.open(timeout=5)) as link:
        assert link.call_many([("GET", name) for name in NAMES]) == NAMES
        assert {each.call("CLUSTER", "MYID") for each in link.each_node()} == {each.id for each in cluster.nodes}
        parts = {part.call("CLUSTER", "MYID"): theirs for part, theirs in link.by_node(NAMES, str)}
    assert parts == {each.id: [name for name in NAMES if cluster.node_of(name) is each] for each in cluster.nodes}
    with pytest.raises(ServerUnreachable, match="closed"):
        link.call("GET", "s0")


def test_addresses_are_remapped(cluster: ClusterSet, streams: Callable[..., None]) -> None:
    """Those that nodes announce, also in what they redirect to."""
    seen = set()

    def remap(address: tuple[str, int]) -> tuple[str, int]:
        seen.add(address)
        return "localhost", address[1]

    streams(STREAMS, URL=cluster.url(order=[0]), ADDRESS_REMAP=remap)
    for name in NAMES:
        publish(name, {"n": 1})
    assert seen == {("127.0.0.1", each.port) for each in cluster.nodes}
    with closing(connections.open(timeout=5, key="s0")) as link:
        assert link.node == f"localhost:{cluster.node_of('s0').port}"


@pytest.mark.usefixtures("cluster")
def test_a_command_whose_keys_are_in_several_slots_is_refused() -> None:
    """The error says what to do."""
    with pytest.raises(ResponseError, match=r"DEAD_LETTER_STREAM of a stream 'orders' is named as in '\{orders\}"):
        connections.get().call("EXISTS", "s0", "s1")
    with closing(connections.open(timeout=5, key="s0")) as link, pytest.raises(ResponseError, match="one hash slot"):
        link.call("EXISTS", "s0", "s1")


def test_a_single_server_is_no_cluster(streams: Callable[..., None]) -> None:
    """Nobody waits for it to become one."""
    with stopped(DataServer()) as made:
        streams(STREAMS, URL=f"redis+cluster://127.0.0.1:{made.port}")
        with pytest.raises(ConfigurationError, match=r"isn't a node of a cluster .* redis://"):
            publish("s0", {})


# Slots that move


def test_a_slot_that_has_moved_is_found(own: ClusterSet) -> None:
    """The node that had it says where it is (MOVED). Nothing is done twice."""
    publish("s0", {"n": 0})
    own.migrate_slot("s0", other(own, own.node_of("s0")))
    assert publish_many("s0", ({"n": n} for n in range(1, 1000))) == 999
    found = own.node_of("s0").raw().xrange("s0")
    assert [fields["data"] for _, fields in found] == [f'{{"n":{n}}}' for n in range(1000)]


def test_a_key_is_reached_while_its_slot_moves(own: ClusterSet) -> None:
    """Before it has moved itself, and after (ASK)."""
    source = own.node_of("s0")
    for number in range(3):
        publish("s0", {"n": number})
    move = own.migration("s0", other(own, source))
    move.begin()
    publish("s0", {"n": 3})
    move.move("s0")
    publish("s0", {"n": 4})
    publish_many("s0", ({"n": n} for n in range(5, 600)))
    assert connections.get().call_many([("XLEN", name) for name in NAMES]) == [600, *[0] * 7]
    move.end()
    publish("s0", {"n": 600})
    found = own.node_of("s0").raw().xrange("s0")
    assert [fields["data"] for _, fields in found] == [f'{{"n":{n}}}' for n in range(601)]


def test_a_command_for_keys_of_which_some_have_moved_counts_as_not_served(own: ClusterSet) -> None:
    """It is done as soon as all have (TRYAGAIN): a delayed message has two keys and more."""
    publish("s0", {"n": 0}, delay=60)
    move = own.migration("s0", other(own, own.node_of("s0")))
    move.begin()
    move.move("{s0}:delayed")
    with pytest.raises(ServerUnreachable, match=r"doesn't serve it now: .*rehashing of slot.* It wasn't executed"):
        publish("s0", {"n": 1}, delay=60)
    publish("s1", {"n": 1}, delay=60)
    threading.Timer(0.05, lambda: (move.move(), move.end())).start()
    publish("s0", {"n": 1}, delay=60)
    assert own.node_of("s0").raw().zcard("{s0}:delayed") == 2


@pytest.mark.parametrize("waits", [False, True])
def test_a_link_of_a_key_ends_when_its_slot_has_moved(own: ClusterSet, waits: bool) -> None:
    """Also while a read waits. The next link leads to the right node."""
    source = own.node_of("s0")
    publish("s0", {"n": 0})
    link = connections.open(timeout=30, key="s0")
    if waits:
        link.send([("XREAD", "BLOCK", 20_000, "STREAMS", "s0", "$")])
        wait_until(lambda: source.raw().info("clients")["blocked_clients"])
    own.migrate_slot("s0", other(own, source))
    if not waits:
        link.send([("XLEN", "s0")])
    with pytest.raises(ServerUnreachable, match=rf"doesn't serve it now: .*{slot_of('s0')}"):
        link.receive(1)
    assert not link.connected
    with closing(connections.open(timeout=5, key="s0")) as following:
        assert following.call("XLEN", "s0") == 1


# Nodes that are away


def test_a_node_that_is_away_fails_only_what_is_for_it(own: ClusterSet) -> None:
    """In the place of its replies stands why. Where nothing else was asked, it is raised."""
    gone = own.node_of("s0")
    publish("s0", {"n": 0})
    gone.kill9()
    theirs = [name for name in NAMES if own.node_of(name) is gone]
    for link in (connections.get(), connections.open(timeout=5)):
        replies = link.call_many([("XLEN", name) for name in NAMES])
        failed = [name for name, each in zip(NAMES, replies, strict=True) if isinstance(each, PartUnreachable)]
        assert failed == theirs
        assert {each for each in replies if not isinstance(each, Exception)} == {0}
        with pytest.raises(ServerUnreachable, match=f"node 127.0.0.1:{gone.port}") as caught:
            link.call("XLEN", "s0")
        assert caught.value.node == f"127.0.0.1:{gone.port}"
        # Who asks for many streams isn't to lose the others, though a part of what is asked is for this node alone.
        assert all(isinstance(each, PartUnreachable) for each in ask_each(link, [("XLEN", "s0")] * 400))
    with pytest.raises(ServerUnreachable) as unreachable:
        publish("s0", {"n": 1})
    assert "refuses" not in error_text(unreachable.value)
    gone.start()
    wait_until(lambda: gone.state["cluster_state"] == "ok")
    wait_until(lambda: _published("s0"))


def _published(name: str) -> bool:
    try:
        publish(name, {})
    except ServerUnreachable:
        return False
    return True


def test_a_command_whose_reply_is_lost_is_not_sent_again(own: ClusterSet, streams: Callable[..., None]) -> None:
    """It may have been carried out: the error says so, and the caller decides."""
    streams(STREAMS, URL=own.url(), OPTIONS={"socket_timeout": 0.5})
    publish("s0", {"n": 0})
    node = own.node_of("s0")
    node.pause()
    try:
        with pytest.raises(ServerUnreachable, match="may or may not have been carried out"):
            publish("s0", {"n": 1})
    finally:
        node.cont()
    wait_until(lambda: _published("s0"))
    assert node.raw().xlen("s0") == 3


def test_a_replica_that_has_taken_over_is_found(
    make_cluster: Callable[..., ClusterSet], streams: Callable[..., None]
) -> None:
    """Where it was asked to, and where it was elected instead of a dead master."""
    made = make_cluster(replicas=1)
    streams(STREAMS, URL=made.url(order=[0]))
    publish("s0", {"n": 0})
    own = connections.open(timeout=5)
    assert own.call("XLEN", "s0") == 1
    made.fail_over("s0")
    publish("s0", {"n": 1})
    assert own.call("XLEN", "s0") == 2
    assert made.node_of("s0").raw().wait(1, 5000) == 1
    before = made.kill("s0")
    made.await_other("s0", before)
    wait_until(lambda: _published("s0"))
    assert own.call("XLEN", "s0") == 3
    with closing(connections.open(timeout=5, key="s0")) as link:
        assert link.call("XLEN", "s0") == 3


def test_nodes_may_come_and_go(own: ClusterSet) -> None:
    """Also those that the URL names."""
    publish("s0", {"n": 0})
    old = own.node_of("s0")
    new = own.add_node()
    own.remove_node(old, new)
    publish("s0", {"n": 1})
    assert own.node_of("s0") is new
    assert new.raw().xlen("s0") == 2
    connections.close_kept()
    assert connections.get().call("XLEN", "s0") == 2


def test_the_error_says_what_each_node_answered(streams: Callable[..., None]) -> None:
    """Where none can be asked which node has what."""
    streams(STREAMS, URL="redis+cluster://127.0.0.1:1,127.0.0.1:2")
    with pytest.raises(ServerUnreachable) as caught:
        publish("s0", {})
    said = str(caught.value)
    assert "no node says which node has which slots. 127.0.0.1:1 can't be asked (" in said
    assert "127.0.0.1:2 can't be asked (" in said
    assert caught.value.node == ""


@pytest.mark.usefixtures("cluster")
def test_totals_are_read() -> None:
    """As of a single server."""
    assert inspection.group_totals("s0", "billing") == {}
