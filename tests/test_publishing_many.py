"""`publish_many`: all or an error that says how far it came."""

import asyncio
import json
import tracemalloc
from decimal import Decimal

import pytest
from django.db import transaction

from django_redis_streams import Message, apublish_many, publish_many, signals
from django_redis_streams.exceptions import (
    InvalidMessage,
    PayloadTooLarge,
    ServerRefused,
    ServerUnreachable,
    TransactionError,
    UnknownStream,
)


@pytest.fixture
def published(streams, server):
    """The payloads on the stream "orders"."""
    return lambda: [json.loads(fields["data"]) for _, fields in server.raw().xrange("orders")]


def test_all_are_published_in_order(published):
    """One message for each payload of any iterable, however many sends that takes."""
    assert publish_many("orders", ({"n": n} for n in range(1001))) == 1001
    assert published() == [{"n": n} for n in range(1001)]


def test_a_coroutine_publishes_many(published, server):
    """`apublish_many` takes the same arguments, and raises the same."""
    shared = {"type": "t", "key": "k", "headers": {"a": "b"}, "lane": "default", "chunk_size": 2}
    assert asyncio.run(apublish_many("orders", ({"n": n} for n in range(5)), **shared)) == 5
    assert published() == [{"n": n} for n in range(5)]
    fields = server.raw().xrange("orders")[-1][1]
    assert (fields["type"], fields["key"], fields["headers"]) == ("t", "k", '{"a":"b"}')
    with pytest.raises(InvalidMessage, match=r"payloads\[1\]"):
        asyncio.run(apublish_many("orders", [1, {2}]))
    assert len(published()) == 5


def test_each_message_has_its_own_id(streams, server):
    """What the messages share is what was given for all."""
    publish_many("orders", [1, 2], type="t", key="k", headers={"a": "b"})
    first, second = (fields for _, fields in server.raw().xrange("orders"))
    assert first["id"] != second["id"]
    assert {**first, "id": "", "data": ""} == {**second, "id": "", "data": ""}
    assert (first["type"], first["key"], first["headers"]) == ("t", "k", '{"a":"b"}')


@pytest.mark.parametrize("chunk_size", [None, 10])
def test_nothing_to_publish_is_nothing(published, chunk_size):
    """An empty iterable is no error."""
    assert publish_many("orders", [], chunk_size=chunk_size) == 0
    assert published() == []


@pytest.mark.django_db
def test_nothing_to_publish_waits_for_no_commit(streams, django_capture_on_commit_callbacks):
    """In a transaction an empty iterable registers nothing either."""
    with django_capture_on_commit_callbacks() as callbacks:
        assert publish_many("orders", []) == 0
    assert callbacks == []


def test_few_sends_carry_many(streams, proxy, published):
    """A thousand messages are four sends, not a thousand round trips."""
    streams(URL=proxy.url)
    publish_many("orders", [0])
    before = len(proxy.requests)
    publish_many("orders", range(1000))
    sends = b"".join(proxy.requests[before:]).count(b"XADD")
    assert sends == 1000
    # The proxy reads up to 64 KiB at once: a send may be read in a few pieces.
    assert len(proxy.requests) - before < 40


@pytest.mark.parametrize("payloads", [{"a": 1}, "text", b"bytes", 5, None])
def test_single_payload_is_refused(published, payloads):
    """A dict would publish its keys, a text its letters: that was meant for `publish`."""
    with pytest.raises(InvalidMessage, match=r"expected an iterable of payloads; publish\(\) takes a single one"):
        publish_many("orders", payloads)
    assert published() == []


def test_bad_payload_publishes_nothing(published):
    """All are encoded before the first is sent; the error tells which one it is."""
    with pytest.raises(InvalidMessage, match=r"payloads\[2\]: payload=<object .*>: expected a JSON value") as raised:
        publish_many("orders", [1, 2, object(), 4])
    assert raised.value.sent == 0
    assert published() == []


def test_bad_payload_keeps_its_kind_of_error(streams):
    """One that is too large says so."""
    streams({"orders": {"MAX_PAYLOAD": 100}})
    with pytest.raises(PayloadTooLarge, match=r"payloads\[1\]: The message takes"):
        publish_many("orders", [1, "x" * 100])


@pytest.mark.parametrize("given", [{"stream": "ordres"}, {"stream": "ordres", "payloads": []}])
def test_unknown_stream_is_an_error(streams, given):
    """Also where there is nothing to publish."""
    with pytest.raises(UnknownStream):
        publish_many(**{"payloads": [1], **given})


def test_error_of_the_iterable_is_raised_as_it_is(published):
    """What the caller's own generator raises is the caller's."""

    def failing():
        yield 1
        raise LookupError("my own")

    with pytest.raises(LookupError, match="my own"):
        publish_many("orders", failing())
    assert published() == []


def test_chunks_are_sent_as_they_come(published):
    """With `chunk_size` no more than that is held: the iterable sees what is already published."""
    seen = []

    def watching():
        for number in range(7):
            if number % 3 == 0:
                seen.append(len(published()))
            yield number

    assert publish_many("orders", watching(), chunk_size=3) == 7
    assert seen == [0, 3, 6]
    assert published() == list(range(7))


def test_chunks_are_of_bounded_memory(streams, server):
    """However many payloads a generator has, no more than a chunk of them is held."""
    publish_many("orders", ["warm-up"], chunk_size=100)
    tracemalloc.start()
    try:
        assert publish_many("orders", ({"n": n, "text": "x" * 1_000} for n in range(5_000)), chunk_size=100) == 5_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000  # all together they are 5 MB
    assert server.raw().xlen("orders") == 5_001


@pytest.mark.parametrize("given", [{"type": 5}, {"key": b"k"}, {"headers": ["a"]}])
def test_what_is_given_for_all_is_checked_once(published, given):
    """Its error names no payload, and comes also where there is none."""
    with pytest.raises(InvalidMessage) as raised:
        publish_many("orders", [], **given)
    assert "payloads[" not in str(raised.value)


def test_bad_payload_of_a_later_chunk_says_how_many_were_sent(published):
    """What was sent stays: the caller goes on from there."""
    with pytest.raises(InvalidMessage, match=r"payloads\[5\]: .*\(4 messages were published\.\)") as raised:
        publish_many("orders", [0, 1, 2, 3, 4, object()], chunk_size=2)
    assert raised.value.sent == 4
    assert published() == [0, 1, 2, 3]


@pytest.mark.parametrize("chunk_size", [0, -1, True, 1.5, "10"])
def test_impossible_chunks_are_refused(published, chunk_size):
    """A size that is none says what was expected."""
    with pytest.raises(InvalidMessage, match=r"chunk_size=.*: expected a whole number, "):
        publish_many("orders", [1], chunk_size=chunk_size)
    assert published() == []


@pytest.mark.django_db
def test_chunks_do_not_go_with_a_transaction(published):
    """What is sent as it goes can't be rolled back."""
    with transaction.atomic(), pytest.raises(TransactionError, match="Leave chunk_size out"):
        publish_many("orders", [1], chunk_size=10)
    assert published() == []


@pytest.mark.parametrize("chunk_size", [None, 400])
def test_lost_connection_says_how_many_were_sent(streams, proxy, published, chunk_size):
    """Those of complete sends are known to be there, those of the last may be."""
    streams(URL=proxy.url)
    payloads = [{"n": n} for n in range(1000)]
    payloads[700]["mark"] = "the-reply-to-this-is-lost"
    proxy.lose_reply_to("the-reply-to-this-is-lost")
    with pytest.raises(ServerUnreachable) as raised:
        publish_many("orders", payloads, chunk_size=chunk_size)
    assert raised.value.sent in {500, 650}
    assert f"({raised.value.sent} messages were published.)" in str(raised.value)
    assert published()[: raised.value.sent] == payloads[: raised.value.sent]
    assert len(published()) < 1000


def test_refusal_says_how_many_were_sent(streams, make_server):
    """A server that fills up on the way refuses the rest, which the error counts."""
    small = make_server(maxmemory="3mb", maxmemory_policy="noeviction")
    streams(URL=small.url)
    with pytest.raises(ServerRefused, match="maxmemory") as raised:
        publish_many("orders", ["x" * 1000] * 10_000, chunk_size=100)
    assert 0 < raised.value.sent == small.raw().xlen("orders") < 10_000


def test_published_messages_are_told_of(streams):
    """`message_published` is sent for each."""
    found = []

    def receive(*, message, **_):
        found.append(message)

    signals.message_published.connect(receive, sender=Message)
    try:
        publish_many("orders", [Decimal(1), Decimal(2)])
    finally:
        signals.message_published.disconnect(receive, sender=Message)
    assert [message.payload for message in found] == ["1", "2"]
    assert len({message.entry_id for message in found}) == 2
