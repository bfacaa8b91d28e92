"""The repair after a failover: what the server has lost of the kept messages is sent again, and nothing else."""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from django_redis_streams import conf, publish
from django_redis_streams import connections as servers
from django_redis_streams.connections.refusals import PartUnreachable
from django_redis_streams.outbox import repair as repair_module
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.outbox.relay import Relay
from django_redis_streams.outbox.rows import row_of
from django_redis_streams.publishing.encoded import Call
from django_redis_streams.store.publish.delay import Due

from .support.servers import Server
from .support.waiting import wait_until

STREAMS = {"orders": {"OUTBOX": "always", "OUTBOX_KEEP": 60, "LANES": ["high", "default"]}}

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def failing(make_server: Callable[..., Server], streams: Callable[..., None]) -> Iterator[Server]:
    """A server whose append-only file is one file that may be set back."""
    server = make_server(auto_aof_rewrite_percentage="0")
    streams(STREAMS, URL=server.url)
    yield server
    OutboxMessage.objects.all().delete()


def waiting(*payloads: Any, lane: str | None = None, due: Due | None = None) -> list[OutboxMessage]:
    """Commit rows that are due now."""
    call = Call(conf.stream("orders"), None, None, None, lane, due=due)
    return OutboxMessage.objects.bulk_create([row_of(call, call.one(payload)) for payload in payloads])


def relayed() -> None:
    """Relay until nothing more is due, as a process does that begins."""
    relay = Relay("default", "default")
    while relay.step(servers.get()).more:
        pass
    relay.let_go(servers.get())


def ids(server: Server, key: str = "orders") -> list[str]:
    """The ids of the messages on a stream."""
    return [fields["id"] for _, fields in server.raw().xrange(key)]


def kept_file(server: Server) -> Path:
    """A copy of what the server has on its disk."""
    copy = server.directory / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    found = server.directory / "appendonlydir"
    if found.exists():
        shutil.copytree(found, copy)
    else:  # Redis 6.2
        copy.mkdir()
        shutil.copy(server.directory / "appendonly.aof", copy)
    return copy


def set_back(server: Server, copy: Path) -> None:
    """Restart the server with an older append-only file: it has lost what came after."""
    server.kill9()
    found = server.directory / "appendonlydir"
    if found.exists():
        shutil.rmtree(found)
        shutil.copytree(copy, found)
    else:
        shutil.copy(copy / "appendonly.aof", server.directory)
    server.start()
    servers.close_kept()


def test_what_a_failover_lost_is_sent_again(failing: Server) -> None:
    """Exactly that, under the same ids: on each lane, delayed or not. Published later or not is no matter."""
    rows = waiting(*range(5))
    (urgent,) = waiting("urgent", lane="high")
    (soon,) = waiting("kept", due=Due(600_000, absolute=False))
    relayed()
    copy = kept_file(failing)
    lost = waiting(*range(5, 10))
    (lost_urgent,) = waiting("urgent", lane="high")
    (lost_soon,) = waiting("lost", due=Due(600_000, absolute=False))
    relayed()
    set_back(failing, copy)
    assert ids(failing) == [row.message_id for row in rows]
    publish("orders", "meanwhile")
    relayed()
    found = ids(failing)
    assert found[:5] == [row.message_id for row in rows]
    assert found[6:] == [row.message_id for row in lost]
    assert ids(failing, "{orders}:lane:high") == [urgent.message_id, lost_urgent.message_id]
    assert failing.raw().zcard("{orders}:delayed") == 2
    assert set(failing.raw().hkeys("{orders}:delayed:entries")) == {soon.message_id, lost_soon.message_id}
    relayed()
    assert ids(failing) == found
    assert not OutboxMessage.objects.filter(sent_at=None).exists()


def test_a_restart_that_loses_nothing_doubles_nothing(failing: Server) -> None:
    """Also where the stream was trimmed, or is empty, and a delayed message was promoted and trimmed since."""
    waiting(*range(5))
    (promoted,) = waiting("promoted", due=Due(0, absolute=False))
    relayed()
    raw = failing.raw()
    raw.delete("{orders}:delayed", "{orders}:delayed:entries")
    raw.xadd("orders", {"id": promoted.message_id, "data": "1"})
    raw.xtrim("orders", maxlen=3, approximate=False)
    before = ids(failing)
    failing.restart()
    servers.close_kept()
    relayed()
    assert ids(failing) == before
    OutboxMessage.objects.update(created_at=Now() - timedelta(seconds=1))
    failing.raw().xtrim("orders", maxlen=0)
    failing.restart()
    servers.close_kept()
    relayed()
    assert ids(failing) == []


def test_it_is_done_once_and_once_more_later(failing: Server) -> None:
    """Who published before may mark a row only after the first look. Then all processes know it is done."""
    waiting(1)
    relay = Relay("default", "default")
    relay.step(servers.get())
    late = waiting(2)
    relay.step(servers.get())
    OutboxMessage.objects.filter(pk=late[0].pk).update(entry_id="9999999999999-0")
    relay._repair._due = time.monotonic()
    relay.step(servers.get())
    relay.step(servers.get())
    assert ids(failing)[2:] == [late[0].message_id]
    (noted,) = failing.raw().keys("*:relayed:*")
    assert failing.raw().info("server")["run_id"] in failing.raw().get(noted)


def test_a_server_that_may_not_be_asked_is_relayed_to_nevertheless(
    failing: Server, streams: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """The log says that nobody looks for what is lost."""
    streams(STREAMS, URL=failing.user("plain", "secret", "+@all", "-info", "~*"))
    waiting(1)
    relayed()
    assert len(ids(failing)) == 1
    assert "can't find out whether the server has lost messages" in caplog.text


def test_a_server_that_lost_all_while_the_relay_goes_on_gets_it_again(failing: Server) -> None:
    """Its lease was lost, too: by that the relay notices."""
    sent = waiting(1, 2)
    relay = Relay("default", "default")
    relay.step(servers.get())
    failing.raw().flushall()
    relay._held_until = 0.5  # the lease is to be renewed
    wait_until(lambda: relay.step(servers.get()).held and ids(failing) == [each.message_id for each in sent])


def test_a_node_that_is_away_is_no_refusal(
    failing: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a cluster: what is for other nodes is sent meanwhile, and the rows are looked at again within seconds."""
    waiting("kept")
    relayed()
    (lost,) = ids(failing)
    failing.raw().flushall()
    relay, look = Relay("default", "default"), repair_module.lost_rows

    def away(*_: Any) -> Any:
        raise PartUnreachable("The node is away.")

    monkeypatch.setattr(repair_module, "lost_rows", away)
    waiting("other", lane="high")  # an entry behind the lost one would say that this was there, and deleted
    while relay.step(servers.get()).more:
        pass
    assert relay.sent == 1
    assert caplog.messages == []
    assert 0 < relay._repair._due - time.monotonic() <= 5
    monkeypatch.setattr(repair_module, "lost_rows", look)
    relay._repair._due = 0.0
    while relay.step(servers.get()).more:
        pass
    assert ids(failing) == [lost]
