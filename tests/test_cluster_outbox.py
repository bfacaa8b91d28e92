"""The outbox on a cluster of which a node is away: rows of what is on other nodes are settled."""

from collections.abc import Callable, Iterator

import pytest
from django.utils import timezone

from django_redis_streams import conf, connections
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.outbox.relay import Relay
from django_redis_streams.outbox.replicated import settle_replicated
from django_redis_streams.outbox.standing import ON_TOO_FEW

from .support import unsent
from .support.clusters import ClusterSet

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cluster() -> Iterator[ClusterSet]:
    """Three masters."""
    made = ClusterSet()
    yield made
    made.stop()


def test_rows_that_wait_for_replicas_are_settled_node_by_node(
    cluster: ClusterSet, streams: Callable[..., None]
) -> None:
    """The older row's node is away: it stays. Others are settled, and what their nodes have lost is sent again."""
    away, *here = (cluster.key_on(node) for node in cluster.masters)
    kept, lost = here
    streams({name: {"OUTBOX": "always"} for name in ("orders", away, kept, lost)}, URL=cluster.url())
    entry_ids = {}
    for name in (away, kept, lost):
        row = unsent.row(stream=name, sent_at=timezone.now(), error=ON_TOO_FEW)
        entry_ids[name] = cluster.node_of(name).raw().xadd(name, {"id": row.message_id})
        OutboxMessage.objects.filter(pk=row.pk).update(entry_id=entry_ids[name])
    cluster.node_of(lost).raw().delete(lost)
    cluster.kill(away)
    relay = Relay("default", "default")
    settle_replicated("default", conf.get().streams_of("default"), connections.get(), relay._replicas)
    left = {row.stream: row.sent_at is None for row in OutboxMessage.objects.all()}
    assert left == {away: False, lost: True}
