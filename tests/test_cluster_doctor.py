"""What the doctor and `check --deploy` find of a cluster: whether it is up, serves all slots, and outlives a node."""

from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest

from django_redis_streams.checks import check_servers
from django_redis_streams.diagnosis import Finding, diagnose

from .support.clusters import ClusterSet, slot_of
from .support.sentinels import HOST
from .support.waiting import wait_until

Streams = Callable[..., None]
BOTH = {"orders": {"MAXLEN": 100}, "tasks": {"MAXLEN": 100}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterSet]:
    """Three masters without replicas, for all tests here that leave them as they are."""
    made = ClusterSet()
    yield made
    made.stop()


def diagnosed() -> dict[str, list[Finding]]:
    """The findings of the doctor, by code."""
    found = defaultdict(list)
    for each in diagnose():
        found[each.code.value].append(each)
    return found


def warned() -> set[str]:
    """The ids of the checks that warn."""
    return {each.id.removeprefix("django_redis_streams.") for each in check_servers()}


def test_a_cluster_with_replicas_is_sound(make_cluster: Callable[..., ClusterSet], streams: Streams) -> None:
    """Nothing is found of the whole; and each node is looked at."""
    made = make_cluster(replicas=1)
    streams(BOTH, URL=made.url())
    found = diagnosed()
    of_clusters = {"cluster", "cluster-down", "slots-missing", "master-alone", "unasked", "unreachable", "no-replica"}
    assert not of_clusters & {*found}
    assert warned() == set()
    nodes = {f"connection 'default', node {HOST}:{each.port}" for each in made.masters}
    assert {each.subject for each in found["no-maxmemory"]} == nodes


def test_masters_without_a_replica_are_a_warning(cluster: ClusterSet, streams: Streams) -> None:
    """All of them are named in one."""
    streams(BOTH, URL=cluster.url())
    (found,) = diagnosed()["master-alone"]
    assert found.subject == "connection 'default'"
    assert all(f"{HOST}:{each.port}" in found.message for each in cluster.nodes)
    assert warned() == {"W043"}


def test_each_node_is_judged(cluster: ClusterSet, streams: Streams) -> None:
    """What is wrong with one of them is said of that one."""
    streams({"orders": {"MIN_REPLICAS": 1}}, URL=cluster.url())
    odd = cluster.node_of("tasks")
    odd.raw().config_set("appendonly", "no")
    odd.raw().config_set("min-replicas-to-write", 1)
    found = diagnosed()
    odd.raw().config_set("min-replicas-to-write", 0)
    odd.raw().config_set("appendonly", "yes")
    assert [each.subject for each in found["no-append-only-file"]] == [f"connection 'default', node {HOST}:{odd.port}"]
    assert len(found["too-few-replicas"]) == 3
    others = {f"connection 'default', node {HOST}:{each.port}" for each in cluster.nodes if each is not odd}
    assert {each.subject for each in found["replicas-not-required"]} == others


def test_slots_that_no_master_has_are_a_fault(cluster: ClusterSet, streams: Streams) -> None:
    """And so are the streams there."""
    streams(BOTH, URL=cluster.url())
    slot, owner = slot_of("orders"), cluster.node_of("orders")
    for each in cluster.nodes:
        each.ask("DELSLOTS", slot)
    (found,) = diagnosed()["slots-missing"]
    for each in cluster.nodes:
        each.ask("SETSLOT", slot, "NODE", owner.id) if each is not owner else each.ask("ADDSLOTS", slot)
    assert found.message.startswith("No node serves 1 of 16,384 slots. Streams there ")
    assert found.message.endswith(": orders.")


def test_a_master_that_is_away_is_a_fault(make_cluster: Callable[..., ClusterSet], streams: Streams) -> None:
    """It is named, with the streams that it takes away; the others are looked at all the same."""
    made = make_cluster()
    streams(BOTH, URL=made.url())
    away, stays = made.node_of("orders"), made.node_of("tasks")
    assert away is not stays
    made.kill("orders")
    found = wait_until(lambda: "slots-missing" in (told := diagnosed()) and told, "the news of the lost node")
    (missing,) = found["slots-missing"]
    assert f"(those of {HOST}:{away.port}, away)" in missing.message
    assert missing.message.endswith("consumed: orders.")
    assert "cluster-down" not in found
    assert [each.subject for each in found["unreachable"]] == [f"connection 'default', node {HOST}:{away.port}"]
    assert f"connection 'default', node {HOST}:{stays.port}" in {each.subject for each in found["no-maxmemory"]}
    assert {"W030", "W042"} <= warned()


def test_a_cluster_that_is_down_is_a_fault(make_cluster: Callable[..., ClusterSet], streams: Streams) -> None:
    """As one is that needs all of its slots."""
    made = make_cluster(cluster_require_full_coverage="yes")
    streams(BOTH, URL=made.url())
    made.kill("orders")
    found = wait_until(lambda: "cluster-down" in (told := diagnosed()) and told, "the news of the lost node")
    assert "cluster_state:fail" in found["cluster-down"][0].evidence
    assert "W041" in warned()


def test_a_cluster_that_does_not_tell_is_not_judged(cluster: ClusterSet, streams: Streams) -> None:
    """Where an ACL forbids to ask; it says what to allow."""
    for each in cluster.nodes:
        each.raw().execute_command(
            "ACL", "SETUSER", "half", "reset", "on", ">blind", "+@all", "-cluster", "+cluster|slots", "~*", "&*"
        )
    streams(BOTH, URL=cluster.url(login="half:blind"))
    found = diagnosed()
    assert [each.fix for each in found["unasked"] if "cluster" in each.fix] == [
        "Allow the user of the connection +cluster|info and +cluster|nodes."
    ]
    assert "master-alone" not in found
    for each in cluster.nodes:
        each.raw().acl_deluser("half")
