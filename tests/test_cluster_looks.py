"""What people look at on a cluster: lists, commands, figures. A node that is away costs only the streams there."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from prometheus_client import CollectorRegistry, generate_latest

from django_redis_streams import connections, follow, inspection, publish
from django_redis_streams.handlers import handler
from django_redis_streams.inspection.undeclared import undeclared_streams
from django_redis_streams.metrics import Collector
from django_redis_streams.testing.draining import drain
from django_redis_streams.testing.isolation import isolated

from .support.clusters import ClusterSet
from .support.samples import samples

NAMES = [f"s{number}" for number in range(6)]
STREAMS: dict[str, Any] = {name: {"GROUPS": {"billing": {"MAX_RETRIES": 1}}} for name in NAMES}


@pytest.fixture(scope="module")
def shared() -> Iterator[ClusterSet]:
    """Three masters. The tests here come before the one that ends a node."""
    made = ClusterSet()
    yield made
    made.stop()


@pytest.fixture
def cluster(shared: ClusterSet, streams: Callable[..., None], isolated_handlers: None) -> ClusterSet:
    """On each stream: a dead letter, a message that waits for a retry, a delayed one, and three that aren't read."""
    for each in shared.nodes:
        each.raw().flushall()
    streams(STREAMS, URL=shared.url())
    for name in NAMES:

        @handler(name, group="billing")
        def run(message: Any) -> None:
            if message.payload["n"] < 0 and (message.payload["n"] == -1 or message.attempt == 1):
                raise RuntimeError("told to fail")

        publish(name, {"n": -1})
    drain(hasten=True)
    for name in NAMES:
        publish(name, {"n": -2})
    drain()
    for name in NAMES:
        publish(name, {"n": 0}, delay=60)
        for number in range(3):
            publish(name, {"n": number})
    return shared


def output(*words: str) -> str:
    """Return what a command prints."""
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


@pytest.mark.usefixtures("cluster")
def test_lists_have_what_is_on_all_nodes() -> None:
    """In their order, page by page."""
    for lists in (inspection.dead_letters, inspection.retrying, inspection.delayed):
        page = lists(count=4)
        assert (page.total, len(page.rows), page.problems) == (6, 4, ())
        further = lists(count=4, after=page.next)
        assert {each.stream for each in (*page.rows, *further.rows)} == {*NAMES}
    assert inspection.pending().problems == ()


@pytest.mark.usefixtures("cluster")
def test_commands_speak_of_all_nodes() -> None:
    """Status, dead letters, what is followed, and what is replayed."""
    status = output("streams", "status")
    assert all(f"{name}" in status for name in NAMES)
    assert "can't" not in status
    assert output("deadletters", "list").count("told to fail") == 6
    output("deadletters", "replay", "--no-input")
    assert inspection.dead_letters().total == 0
    for name in NAMES:
        found = [each.payload["n"] for each in follow(name, after="0", block=0)]
        assert found == [-1, -2, 0, 1, 2]
        assert len(inspection.stream_contents(name)[0]) == 1


@pytest.mark.usefixtures("cluster")
def test_each_node_has_figures_of_its_own() -> None:
    """A series for each, and no series twice."""
    registry = CollectorRegistry()
    registry.register(Collector())
    found = samples(generate_latest(registry).decode(), "text/plain")
    up = {labels for labels in found if labels[0] == "redis_streams_server_up"}
    assert len(up) == 3
    assert {found[each] for each in up} == {1.0}
    assert sum(labels[0] == "redis_streams_up" and value == 1 for labels, value in found.items()) == 6


def test_streams_that_nobody_declares_are_found_on_all_nodes(cluster: ClusterSet, streams: Callable[..., None]) -> None:
    """As after a renaming."""
    from django_redis_streams import conf  # noqa: PLC0415

    streams({"s0": STREAMS["s0"]}, URL=cluster.url())
    found = undeclared_streams(connections.get(), conf.connection("default"))
    assert [each.name for each in found.streams] == NAMES[1:]
    assert found.left_out == []


def test_the_tests_of_a_project_may_use_its_cluster(cluster: ClusterSet) -> None:
    """With a key prefix of their own; what they leave is erased."""
    before = sum(each.raw().dbsize() for each in cluster.nodes)
    with isolated("configured"):
        for name in NAMES:
            publish(name, {"n": 1})
        assert sum(each.raw().dbsize() for each in cluster.nodes) == before + 6
    assert sum(each.raw().dbsize() for each in cluster.nodes) == before


def test_a_node_that_is_away_costs_its_own_streams_alone(cluster: ClusterSet) -> None:
    """Lists, status and figures name these, and show the others."""
    gone = cluster.node_of("s0")
    theirs = {name for name in NAMES if cluster.node_of(name) is gone}
    gone.kill9()
    try:
        page = inspection.dead_letters(count=10)
        assert {each.stream for each in page.rows} == {*NAMES} - theirs
        assert {each.stream for each in page.problems} == theirs
        overview = inspection.overview()
        assert {each.name for each in overview.streams} == {*NAMES} - theirs
        assert {each.stream for each in overview.problems} == theirs
        contents, problems = inspection.stream_contents()
        assert {each.name for each in contents} == {*NAMES} - theirs
        assert {each.stream for each in problems} == theirs
        registry = CollectorRegistry()
        registry.register(Collector())
        found = samples(generate_latest(registry).decode(), "text/plain")
        assert sorted(value for labels, value in found.items() if labels[0] == "redis_streams_server_up") == [0, 1, 1]
    finally:
        gone.start()
