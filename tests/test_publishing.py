"""Publishing: what is on the stream afterwards, and what is said where nothing is."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest

from django_redis_streams import Message, apublish, publish, signals
from django_redis_streams.exceptions import (
    ConfigurationError,
    InvalidMessage,
    PayloadTooLarge,
    ServerRefused,
    ServerUnreachable,
    StreamsError,
    UnknownStream,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture
def entries(streams, server):
    """The payloads on the stream "orders", or on another."""
    return lambda stream="orders": [json.loads(fields["data"]) for _, fields in server.raw().xrange(stream)]


@pytest.fixture
def heard():
    """The arguments that each signal was sent with, by the signal's name."""
    found = {}
    receivers = []

    def listen(name):
        def receive(*, sender, signal, **arguments):
            found.setdefault(name, []).append(arguments)

        getattr(signals, name).connect(receive, sender=Message)
        receivers.append((name, receive))

    for name in ("message_published", "publish_failed"):
        listen(name)
    yield found
    for name, receive in receivers:
        getattr(signals, name).disconnect(receive, sender=Message)


def test_message_is_an_entry_of_the_stream(streams, server):
    """What is published stands on the stream, in the fields that any client can read."""
    message = publish("orders", {"total": 5}, type="order.paid", key="c-7", headers={"trace": "t"})
    ((_, fields),) = server.raw().xrange("orders")
    assert fields == {
        "id": message.id,
        "type": "order.paid",
        "data": '{"total":5}',
        "key": "c-7",
        "headers": '{"trace":"t"}',
    }


def test_message_is_returned(streams):
    """The caller knows the id at once, a UUIDv7, and when it was made."""
    message = publish("orders", {"total": 5}, type="order.paid", key="c-7", headers={"trace": "t"})
    assert UUID(message.id).version == 7
    assert (message.stream, message.type, message.payload) == ("orders", "order.paid", {"total": 5})
    assert (message.key, message.headers) == ("c-7", {"trace": "t"})
    assert abs(message.time.timestamp() - time.time()) < 10


def test_prefix_is_part_of_the_key(streams, server):
    """The stream is declared by its name, and kept under the connection's prefix."""
    streams(KEY_PREFIX="staging")
    publish("orders", 1)
    assert (server.raw().xlen("staging:orders"), server.raw().exists("orders")) == (1, 0)


def test_flat_format_is_the_payloads_own_fields(streams, server):
    """`FORMAT: "flat"` is for consumers that know nothing of us."""
    streams({"orders": {"FORMAT": "flat"}})
    message = publish("orders", {"total": "99.90"})
    ((_, fields),) = server.raw().xrange("orders")
    assert fields == {"drs-id": message.id, "total": "99.90"}


def test_other_connection_is_used(streams, settings, make_server, server):
    """A stream is on the server of its own connection."""
    other = make_server()
    settings.REDIS_STREAMS = {
        "CONNECTIONS": {"default": {"URL": server.url}, "other": {"URL": other.url}},
        "STREAMS": {"orders": {}, "tasks": {"CONNECTION": "other"}},
    }
    publish("tasks", 1)
    assert (other.raw().xlen("tasks"), server.raw().exists("tasks")) == (1, 0)


def test_publishing_needs_no_database(streams, entries):
    """No connection is opened: this test may not, and would fail."""
    publish("orders", 1)
    assert entries() == [1]


def test_coroutine_needs_no_database_either(streams, entries):
    """`publish` and `apublish` send from a coroutine as well."""

    async def both():
        publish("orders", 1)
        await apublish("orders", 2, type="t", key="k", headers={"a": 1})

    asyncio.run(both())
    assert entries() == [1, 2]


def test_project_without_databases_can_publish(streams, server, entries):
    """Django's own default for DATABASES is none at all."""
    script = (
        "import sys\n"
        "from django.conf import settings\n"
        "connections = {'default': {'URL': sys.argv[1]}}\n"
        "settings.configure(REDIS_STREAMS={'CONNECTIONS': connections, 'STREAMS': {'orders': {}}})\n"
        "import django; django.setup()\n"
        "from django_redis_streams import publish\n"
        "publish('orders', 'no database')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-W", "error", "-c", script, server.url], check=True, env=environment, timeout=30)
    assert entries() == ["no database"]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"stream": "ordres"}, UnknownStream),
        ({"stream": None}, UnknownStream),
        ({"payload": object()}, InvalidMessage),
        ({"payload": "x" * 2000}, PayloadTooLarge),
        ({"type": 5}, InvalidMessage),
        ({"key": b"k"}, InvalidMessage),
        ({"headers": ["a"]}, InvalidMessage),
        ({"headers": {1: "a"}}, InvalidMessage),
        ({"headers": {"a": object()}}, InvalidMessage),
    ],
)
def test_bad_message_is_an_error_of_the_call(streams, server, given, error):
    """Nothing is written, and the error is one of ours."""
    streams({"orders": {"MAX_PAYLOAD": 1000}})
    with pytest.raises(error) as raised:
        publish(**{"stream": "orders", "payload": 1, **given})
    assert isinstance(raised.value, StreamsError)
    assert server.raw().dbsize() == 0


def test_broken_settings_are_an_error_of_the_call(streams):
    """With settings that can't work nothing can be published, and the error says what is wrong with them."""
    streams({"orders": {"MAXLEN": 0}})
    with pytest.raises(ConfigurationError, match="MAXLEN"):
        publish("orders", 1)


def test_server_that_is_away_is_an_error_of_the_call(streams, heard):
    """Outside a transaction the caller can still do something about it."""
    streams(URL="unix:///nowhere/server.sock")
    with pytest.raises(ServerUnreachable, match="unix:///nowhere/server"):
        publish("orders", 1)
    assert heard == {}


def test_server_that_refuses_is_an_error_of_the_call(streams, server, heard):
    """A key of another type, a full memory or an ACL: the server's own words, as one of our errors."""
    server.raw().set("orders", "taken")
    with pytest.raises(ServerRefused, match=r"refuses to append to the stream 'orders'.*wrong kind of value"):
        publish("orders", 1)
    assert heard == {}


def test_full_memory_is_an_error_of_the_call(streams, make_server):
    """`noeviction` refuses what would not fit; nothing that is there is given up for it."""
    full = make_server(maxmemory="1", maxmemory_policy="noeviction")
    streams(URL=full.url)
    with pytest.raises(ServerRefused, match="maxmemory"):
        publish("orders", 1)


def test_lost_reply_is_not_sent_again(streams, proxy, entries):
    """Where the reply is lost the caller is told, and decides: sending again might publish twice."""
    streams(URL=proxy.url)
    publish("orders", 1)
    proxy.lose_reply_to("XADD")
    with pytest.raises(ServerUnreachable, match="may or may not"):
        publish("orders", 2)
    assert entries() == [1, 2]


def test_published_message_is_told_of(streams, entries, heard):
    """`message_published` has the message as handlers will get it, and the entry that it is."""
    message = publish("orders", {"pair": (1, 2)})
    (told,) = heard["message_published"]
    assert (told["message"].id, told["message"].payload) == (message.id, {"pair": [1, 2]})
    assert told["message"].entry_id.endswith("-0")
    assert told["message"].time == message.time


def test_receivers_error_harms_nobody(streams, entries, caplog):
    """What a receiver does wrong is logged; the message is published, and its producer goes on."""

    def receive(**_):
        raise RuntimeError("a receiver's own error")

    signals.message_published.connect(receive, sender=Message)
    try:
        publish("orders", 1)
    finally:
        signals.message_published.disconnect(receive, sender=Message)
    assert entries() == [1]
    assert "a receiver's own error" in caplog.text


def test_asynchronous_receiver_cannot_stop_a_coroutine(streams, entries, caplog):
    """Django can't run it for a caller inside an event loop: that is logged, and the message published."""

    async def receive(**_):
        raise AssertionError("never run")

    async def coroutine():
        publish("orders", 1)

    signals.message_published.connect(receive, sender=Message)
    try:
        asyncio.run(coroutine())
    finally:
        signals.message_published.disconnect(receive, sender=Message)
    assert entries() == [1]
    (record,) = [each for each in caplog.records if each.name == "django_redis_streams"]
    assert (record.levelno, record.stream) == (logging.ERROR, "orders")


def test_nothing_is_made_for_signals_that_nobody_hears(streams, entries, monkeypatch):
    """Without a receiver a publish costs no second message."""
    monkeypatch.setattr(signals, "send", lambda *_, **__: pytest.fail("made for nobody"))
    publish("orders", 1)
    assert entries() == [1]
