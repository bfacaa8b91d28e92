"""What a cluster's links make of nodes that come back, slots that nobody has, and commands that are sent again."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from django_redis_streams import connections
from django_redis_streams.connections.cluster.links import RoutingLink

from .support.clusters import ClusterSet
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
