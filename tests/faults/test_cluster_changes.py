"""A cluster changes amid the work: slots move, a master dies, nodes come and go. Publishing and handling go on.

While slots move, nothing is lost, and each message is accepted. What only a dead master had is lost with it, as
replication is asynchronous: then it is counted what arrives of all that was accepted after.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import Any, Self

import pytest

from django_redis_streams import publish
from django_redis_streams.exceptions import ServerUnreachable

from ..support.books import books
from ..support.clusters import ClusterSet, Node
from ..support.waiting import wait_until
from ..support.workers import Fleet

NAMES = [f"s{number}" for number in range(6)]
STREAMS: dict[str, Any] = {name: {"GROUPS": {"billing": {"BACKOFF": (0.05, 0.1)}}} for name in NAMES}
# In messages a second.
RATE = 300


class Publisher(threading.Thread):
    """Publishes to all streams in turn, whatever becomes of it; knows when each was accepted."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        # By a message's id, its stream and when that was; and the number of each that wasn't accepted, with its stream.
        self.accepted: dict[str, tuple[str, float]] = {}
        self.refused: dict[int, str] = {}
        self._ends = threading.Event()

    def run(self) -> None:
        """Publish until the end: each tenth fails once, each twentieth is delayed."""
        began, number = time.monotonic(), 0
        while not self._ends.wait(max(0.0, began + number / RATE - time.monotonic())):
            number += 1
            stream, do = NAMES[number % len(NAMES)], "fail-once" if number % 10 == 0 else "nothing"
            try:
                message = publish(stream, {"do": do}, delay=0.05 if number % 20 == 5 else None)
            except ServerUnreachable:
                self.refused[number] = stream
            else:
                self.accepted[message.id] = stream, time.monotonic()

    def of(self, streams: Sequence[str], since: float, until: float = inf) -> set[str]:
        """Return the ids of what these streams have accepted between two moments."""
        return {name for name, (stream, at) in list(self.accepted.items()) if stream in streams and since <= at < until}

    def __enter__(self) -> Self:
        self.start()
        wait_until(lambda: len(self.accepted) > RATE, "a second of load")
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self.join()


@pytest.fixture
def begin(
    make_cluster: Callable[..., ClusterSet], streams: Callable[..., None], tmp_path: Path
) -> Iterator[Callable[..., tuple[ClusterSet, Fleet]]]:
    """`begin(…)` starts a cluster, and processes of a worker that have handled a message of each stream."""
    with ExitStack() as stack:

        def start(
            declared: dict[str, Any] = STREAMS, *, processes: int = 2, **options: Any
        ) -> tuple[ClusterSet, Fleet]:
            cluster = make_cluster(**options)
            fleet = Fleet(tmp_path, cluster.url(), declared)
            stack.callback(fleet.end)
            streams(declared, URL=fleet.url)
            fleet.start("--processes", str(processes))
            for name in NAMES:
                publish(name, {"do": "first"})
            wait_until(lambda: len(fleet.noted("ended")) == len(NAMES))
            return cluster, fleet

        yield start


def handled(fleet: Fleet) -> Counter[str]:
    """Return how often each message was handled, by its id."""
    return Counter(words[1] for words in fleet.noted("ended") if words[2] != "first")


def told(text: str) -> None:
    """Show what a test has counted, with -s or where it fails."""
    sys.stdout.write(f"{text}\n")


def settled(cluster: ClusterSet) -> bool:
    """Return whether nothing waits on any stream."""
    return all(
        (found := books(cluster.node_of(name).raw(), stream=name)).unread + found.pending + found.retrying == 0
        for name in NAMES
    )


def others(cluster: ClusterSet, name: str) -> list[Node]:
    """Return the nodes that haven't a stream's slot."""
    source = cluster.node_of(name)
    return [each for each in cluster.masters if each is not source]


@pytest.mark.slow
def test_slots_move_under_load(begin: Callable[..., tuple[ClusterSet, Fleet]]) -> None:
    """Each stream's moves three times, key by key. Nothing is lost, and little comes twice.

    Only what is delayed, which takes several keys, may be refused meanwhile.
    """
    cluster, fleet = begin()
    with Publisher() as publisher:
        for turn in range(3):
            for name in NAMES:
                move = cluster.migration(name, others(cluster, name)[turn % 2])
                move.begin()
                while left := move.left:
                    move.move(left[0])
                move.end()
    assert [number for number in publisher.refused if number % 20 != 5] == []
    wait_until(lambda: publisher.accepted.keys() <= handled(fleet).keys(), "all that was accepted")
    wait_until(lambda: settled(cluster), "nothing that waits")
    repeated = sum(handled(fleet).values()) - len(handled(fleet))
    told(f"{len(publisher.accepted)} accepted, {len(publisher.refused)} refused, {repeated} repeated")
    assert repeated <= len(publisher.accepted) / 20
    fleet.processes[0].terminate()
    output = fleet.finish(fleet.processes[0])
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_master_dies_under_load(begin: Callable[..., tuple[ClusterSet, Fleet]]) -> None:
    """Its replica takes over. Streams of other nodes are handled meanwhile as ever."""
    cluster, fleet = begin(replicas=1)
    gone = cluster.node_of("s0")
    there = [name for name in NAMES if cluster.node_of(name) is not gone]
    theirs = [name for name in NAMES if name not in there]
    with Publisher() as publisher:
        died = time.monotonic()
        cluster.kill("s0")
        time.sleep(1.0)
        half = publisher.of(there, died, died + 0.5)
        wait_until(lambda: half <= handled(fleet).keys(), "what is on other nodes", deadline=10)
        cluster.await_other("s0", gone)
        wait_until(lambda: publisher.of(theirs, died + 1), "what is accepted again")
        since = time.monotonic()
        time.sleep(1.0)
    assert set(publisher.refused.values()) <= {*theirs}
    after = publisher.of(NAMES, since)
    wait_until(lambda: after <= handled(fleet).keys(), "what was accepted by the new master")
    wait_until(lambda: settled(cluster), "nothing that waits")
    lost = publisher.accepted.keys() - handled(fleet).keys()
    told(f"{len(publisher.accepted)} accepted, {len(publisher.refused)} refused, {len(lost)} lost")
    assert all(publisher.accepted[each][1] < died + 1 for each in lost)
    fleet.processes[0].terminate()
    output = fleet.finish(fleet.processes[0])
    assert output.count(f"node 127.0.0.1:{gone.port}") <= 6
    assert f"what was on the node 127.0.0.1:{gone.port} of its cluster is served again" in output


@pytest.mark.slow
def test_nodes_come_and_go_under_load(begin: Callable[..., tuple[ClusterSet, Fleet]]) -> None:
    """One is added and takes over the slots of another, which is ended. Nothing is lost."""
    cluster, fleet = begin()
    old = cluster.node_of("s0")
    with Publisher() as publisher:
        cluster.remove_node(old, cluster.add_node())
    wait_until(lambda: publisher.accepted.keys() <= handled(fleet).keys(), "all that was accepted")
    wait_until(lambda: settled(cluster), "nothing that waits")


@pytest.mark.slow
def test_a_node_that_stands_still_holds_up_only_its_own(begin: Callable[..., tuple[ClusterSet, Fleet]]) -> None:
    """It answers nothing, and closes nothing."""
    cluster, fleet = begin(cluster_node_timeout="60000")
    still = cluster.node_of("s0")
    there = [name for name in NAMES if cluster.node_of(name) is not still]
    still.pause()
    try:
        expected = {publish(name, {"do": "fail-once"}).id for name in there for _ in range(20)}
        wait_until(lambda: expected <= handled(fleet).keys(), "what is on other nodes")
    finally:
        still.cont()
    again = publish("s0", {"do": "nothing"}).id
    wait_until(lambda: again in handled(fleet))


@pytest.mark.slow
def test_what_runs_is_renewed_on_the_nodes_that_are_there(begin: Callable[..., tuple[ClusterSet, Fleet]]) -> None:
    """While a node is away that the same process has messages of: nobody else claims what is on the others."""
    declared = {name: {"GROUPS": {"billing": {"CLAIM_IDLE": 1.5}}} for name in NAMES}
    cluster, fleet = begin(declared, processes=1)
    there = next(name for name in NAMES if cluster.node_of(name) is not cluster.node_of("s0"))
    # What ends on the other node can't be settled: that mustn't keep the heartbeat.
    ids = {name: publish(name, {"do": do}).id for name, do in (("s0", "sleep:1"), (there, "sleep:6"))}
    wait_until(lambda: {*ids.values()} <= {words[1] for words in fleet.noted("began")})
    fleet.start()
    cluster.node_of("s0").kill9()
    wait_until(lambda: ids[there] in handled(fleet))
    wait_until(lambda: books(cluster.node_of(there).raw(), stream=there).acknowledged == 2)
    assert [words[1] for words in fleet.noted("began")].count(ids[there]) == 1
