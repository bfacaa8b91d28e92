"""The clusters that tests are made with do what real ones do: slots move, masters are replaced, nodes come and go."""

from collections.abc import Callable, Iterator

import pytest
from redis.exceptions import RedisError

from .support.clusters import ClusterSet, slot_of


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterSet]:
    """Three masters, for all tests here that leave nodes as they are."""
    made = ClusterSet()
    yield made
    made.stop()


def test_each_key_is_on_one_of_its_masters(cluster: ClusterSet) -> None:
    """Which knows it, while the others name it."""
    names = [cluster.key_on(each) for each in cluster.nodes]
    assert len({cluster.node_of(each) for each in names}) == 3
    for name in names:
        node = cluster.node_of(name)
        node.raw().xadd(name, {"n": "1"})
        others = [each for each in cluster.nodes if each is not node]
        for each in others:
            with pytest.raises(RedisError, match=f"{slot_of(name)} 127.0.0.1:{node.port}"):
                each.raw().xlen(name)


def test_a_slot_moves_step_by_step(cluster: ClusterSet) -> None:
    """In the middle, some keys are here and some there."""
    source = cluster.node_of("orders")
    target = next(each for each in cluster.nodes if each is not source)
    source.raw().xadd("orders", {"n": "1"})
    source.raw().hset("{orders}:groups", "billing", "0-0")
    move = cluster.migration("orders", target)
    move.begin()
    assert move.left == ["orders", "{orders}:groups"]
    move.move("orders")
    assert source.raw().exists("{orders}:groups") == 1
    with pytest.raises(RedisError, match=f"127.0.0.1:{target.port}"):  # ASK
        source.raw().xlen("orders")
    move.move()
    move.end()
    assert cluster.node_of("orders") is target
    assert target.raw().xlen("orders") == 1
    cluster.migrate_slot("orders", source)
    assert cluster.node_of("orders") is source
    assert source.raw().xlen("orders") == 1


def test_masters_are_replaced(make_cluster: Callable[..., ClusterSet]) -> None:
    """On request, and where one is killed; what its replica has is there."""
    cluster = make_cluster(replicas=1)
    before = cluster.node_of("orders")
    before.raw().xadd("orders", {"n": "1"})
    assert before.raw().wait(1, 5000) == 1
    after = cluster.fail_over("orders")
    assert (before.role, after.role) == ("slave", "master")
    assert after.raw().xlen("orders") == 1
    assert cluster.kill("orders") is after
    assert cluster.await_other("orders", after) is before
    assert before.raw().xlen("orders") == 1


def test_nodes_come_and_go(make_cluster: Callable[..., ClusterSet]) -> None:
    """With their slots and keys."""
    cluster = make_cluster()
    old = cluster.node_of("orders")
    old.raw().xadd("orders", {"n": "1"})
    new = cluster.add_node()
    cluster.remove_node(old, new)
    assert cluster.node_of("orders") is new
    assert new.raw().xlen("orders") == 1
    assert len(cluster.masters) == 3
