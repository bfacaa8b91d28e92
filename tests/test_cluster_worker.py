"""A worker on a cluster: its streams are on all nodes, and each node's are served as those of a single server."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from django_redis_streams import connections, publish
from django_redis_streams.operations.groups import pause, resume

from .support.books import books
from .support.clusters import ClusterSet
from .support.waiting import wait_until
from .support.workers import Fleet

NAMES = [f"s{number}" for number in range(8)]
GROUP: dict[str, Any] = {"billing": {"BACKOFF": (0.1, 0.2), "MAX_RETRIES": 1}}
STREAMS: dict[str, Any] = {name: {"GROUPS": GROUP} for name in NAMES}


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterSet]:
    """Three masters, for all tests here that leave nodes and slots as they are."""
    made = ClusterSet()
    yield made
    made.stop()


@pytest.fixture
def workers(cluster: ClusterSet, streams: Callable[..., None], tmp_path: Path) -> Iterator[Fleet]:
    """Workers on the cluster, to which the test's own process publishes."""
    for each in cluster.nodes:
        each.raw().flushall()
    fleet = Fleet(tmp_path, cluster.url(), STREAMS)
    streams(STREAMS, URL=fleet.url)
    yield fleet
    fleet.end()


def all_books(cluster: ClusterSet) -> list[Any]:
    """Return the books of each stream."""
    return [books(cluster.node_of(name).raw(), stream=name) for name in NAMES]


def test_all_streams_are_served(cluster: ClusterSet, workers: Fleet) -> None:
    """Messages, retries, delayed messages, dead letters, figures; and the worker ends when nothing is left."""
    for name in NAMES:
        for number in range(20):
            publish(name, {"do": f"{name}-{number}"})
        publish(name, {"do": "fail"})
        publish(name, {"do": f"{name}-later"}, delay=0.5)
    workers.start("--processes", "2")
    wait_until(lambda: all(each.acknowledged == 21 and each.dead_lettered == 1 for each in all_books(cluster)))
    assert Counter(words[2] for words in workers.noted("ended") if words[2] != "fail") == {
        f"{name}-{number}": 1 for name in NAMES for number in [*range(20), "later"]
    }
    link = connections.get()
    asked = [("ZCARD", f"{{{name}}}:processes") for name in NAMES]
    wait_until(lambda: link.call_many(asked) == [2] * 8, "both processes have said of each stream that they serve it")
    assert workers.finish(stopped(workers.processes[0])).count("ERROR") == 8
    assert link.call_many([("XINFO", "CONSUMERS", name, "billing") for name in NAMES]) == [[]] * 8


def stopped(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """Ask a worker to stop."""
    process.send_signal(signal.SIGTERM)
    return process


def test_a_drain_ends_when_nothing_is_left_on_any_node(cluster: ClusterSet, workers: Fleet) -> None:
    """A message that ended its process is handed back, and run alone: by whoever, on whichever node."""
    for number, name in enumerate(NAMES):
        publish(name, {"do": f"die-once:{workers.runs}.{name}" if number % 2 else "fail-once"})
    workers.drain()
    assert {each.acknowledged for each in all_books(cluster)} == {1}
    assert workers.drain().count("ERROR") == 0


def test_what_is_due_is_given_on_each_node(cluster: ClusterSet, workers: Fleet) -> None:
    """Also where it is published when nothing has waited there yet. That notices are heard, test_notices.py sees."""
    workers.start()
    wait_until(lambda: [each["name"] for name in NAMES for each in groups(cluster, name)] == ["billing"] * 8)
    for name in NAMES:
        publish(name, {"do": "later"}, delay=0.3)
    wait_until(lambda: all(each.acknowledged == 1 for each in all_books(cluster)))


def groups(cluster: ClusterSet, name: str) -> list[dict[str, Any]]:
    """Return what is known of a stream's groups."""
    try:
        return list(cluster.node_of(name).raw().xinfo_groups(name))
    except ResponseError:
        return []


def test_what_a_dead_host_held_is_claimed(cluster: ClusterSet, streams: Callable[..., None], workers: Fleet) -> None:
    """When it is idle for CLAIM_IDLE, on each node."""
    declared = {name: {"GROUPS": {"billing": {"CLAIM_IDLE": 2}}} for name in NAMES}
    workers.streams = declared
    streams(declared, URL=workers.url)
    for name in NAMES:
        publish(name, {"do": f"first-waits:{workers.runs}.{name}:nothing"})
    first = workers.start()
    wait_until(lambda: len(workers.noted("began")) == 8)
    os.killpg(first.pid, signal.SIGKILL)
    workers.start()
    wait_until(lambda: all(each.acknowledged == 1 for each in all_books(cluster)))


def test_a_pause_is_heard_of(cluster: ClusterSet, workers: Fleet) -> None:
    """And a resume. The read that waits for messages is ended: else it would wait for 15 s, and give the next one."""
    worker = workers.start()
    publish("s3", {"do": "first"})
    wait_until(lambda: books(cluster.node_of("s3").raw(), stream="s3").acknowledged == 1)
    pause("s3", "billing", by="test")
    assert "s3:billing is paused" in workers.line_with(worker, "paused")
    publish("s3", {"do": "second"})
    for name in NAMES:
        if name != "s3":
            publish(name, {"do": "first"})
    wait_until(lambda: sum(each.acknowledged for each in all_books(cluster)) == 8, "one of each stream")
    assert books(cluster.node_of("s3").raw(), stream="s3").acknowledged == 1
    resume("s3", "billing", by="test")
    wait_until(lambda: books(cluster.node_of("s3").raw(), stream="s3").acknowledged == 2)
