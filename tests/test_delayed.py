"""Delayed messages, on a real server."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from django_redis_streams import apublish, conf, connections, inspection, publish, publish_many, waiting
from django_redis_streams.exceptions import InvalidMessage, ServerRefused
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.store.redeliver import promote

from .servers import Server
from .waiting import wait_until
from .workers import working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
DELAYED, ENTRIES = "{orders}:delayed", "{orders}:delayed:entries"


def _promote() -> Any:
    return promote(connections.get(), conf.stream("orders"), [], "tested")


def test_a_delayed_message_is_handled_when_it_is_due_and_not_before(raw: Raw) -> None:
    """It has the id and the time of the call, and leaves nothing behind."""
    got: list[tuple[Message, float]] = []
    handler("orders", group="billing")(lambda message: got.append((message, time.time())))
    began = time.time()
    message = publish("orders", {"n": 1}, delay=timedelta(seconds=0.5))
    with working():
        wait_until(lambda: got)
    handled, at = got[0]
    assert at - began >= 0.499
    assert (handled.id, handled.payload, handled.time) == (message.id, {"n": 1}, message.time)
    assert not raw.exists(DELAYED, ENTRIES)


def test_a_time_is_absolute_and_one_that_is_past_is_now(raw: Raw) -> None:
    """The due time on the server is that of `at`; what is past moves with the next step."""
    at = datetime(2100, 1, 1, tzinfo=UTC)
    later = publish("orders", 1, at=at)
    asyncio.run(apublish("orders", 2, at=datetime(2000, 1, 1, tzinfo=UTC)))
    assert raw.zscore(DELAYED, later.id) == at.timestamp() * 1000
    assert _promote().moved == 1
    assert raw.xlen("orders") == 1


def test_many_are_delayed_together_and_moved_in_order_to_their_lane(raw: Raw, streams: Callable[..., None]) -> None:
    """`publish_many` counts them; more than one step's worth is told, and the lane is kept."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}}}})
    assert publish_many("orders", range(300), lane="high", delay=0) == 300
    wait_until(lambda: not (step := _promote()).more and step.moved == 0)
    data = [int(fields["data"]) for _, fields in raw.xrange("{orders}:lane:high")]
    assert sorted(data) == list(range(300))


def test_a_flat_message_can_be_delayed(raw: Raw, streams: Callable[..., None]) -> None:
    """Its entry is the payload's fields and the id, as without a delay."""
    streams({"orders": {"FORMAT": "flat", "GROUPS": {"billing": {}}}})
    message = publish("orders", {"n": 1}, delay=0)
    wait_until(lambda: _promote().moved)
    assert raw.xrange("orders")[0][1] == {"drs-id": message.id, "n": "1"}


@pytest.mark.django_db(transaction=True)
def test_a_delayed_message_of_a_rolled_back_transaction_never_is(raw: Raw) -> None:
    """It comes to the server with the commit, not with the call."""
    with transaction.atomic():
        publish("orders", 1, delay=60)
        transaction.set_rollback(True)
    with transaction.atomic():
        kept = publish("orders", 2, delay=60)
        assert not raw.exists(DELAYED)
    assert raw.zrange(DELAYED, 0, -1) == [kept.id]


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay": -1},
        {"delay": float("nan")},
        {"delay": float("inf")},
        {"delay": True},
        {"delay": "5"},
        {"at": datetime(2100, 1, 1)},  # noqa: DTZ001  naive on purpose
        {"at": 5},
        {"delay": 1, "at": datetime(2100, 1, 1, tzinfo=UTC)},
    ],
)
def test_what_is_no_time_to_wait_for_is_an_error_of_the_call(raw: Raw, wrong: dict[str, Any]) -> None:
    """The error names the argument, and nothing is kept."""
    with pytest.raises(InvalidMessage, match=next(iter(wrong))):
        publish("orders", 1, **wrong)
    assert not raw.exists(DELAYED, ENTRIES, "orders")


def test_a_token_without_a_row_is_removed_and_reported(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """It would else be looked at for ever."""
    handler("orders", group="billing")(print)
    raw.zadd(DELAYED, {"lost": 1})
    with caplog.at_level(logging.ERROR), working():
        wait_until(lambda: not raw.exists(DELAYED))
        wait_until(lambda: "whose entry is gone" in caplog.text)


def test_a_lane_that_cannot_be_appended_to_keeps_what_is_delayed(raw: Raw, streams: Callable[..., None]) -> None:
    """What is due there stays and is told; what is due elsewhere moves, and the rest once it can."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}}}})
    kept = publish("orders", 1, lane="high", at=datetime(2000, 1, 1, tzinfo=UTC))
    publish("orders", 2, at=datetime(2000, 1, 1, tzinfo=UTC))
    raw.set("{orders}:lane:high", "not a stream")
    step = _promote()
    assert step.moved == 1
    assert "delayed messages" in step.problems[0]
    assert raw.zrange(DELAYED, 0, -1) == raw.hkeys(ENTRIES) == [kept.id]
    raw.delete("{orders}:lane:high")
    assert _promote().moved == 1
    assert raw.xlen("{orders}:lane:high") == 1


@pytest.mark.parametrize("refused", ["zrem", "hdel"])
def test_a_refused_removal_makes_no_copies(
    raw: Raw, server: Server, streams: Callable[..., None], refused: str
) -> None:
    """An entry that can't be taken from the delayed set isn't appended either, look after look."""
    publish("orders", 1, at=datetime(2000, 1, 1, tzinfo=UTC))
    raw.acl_setuser("limited", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", f"-{refused}"])
    try:
        streams(URL=server.url, OPTIONS={"username": "limited", "password": "any"})
        assert all(_promote().problems for _ in range(3))
    finally:
        raw.acl_deluser("limited")
    assert (raw.xlen("orders"), raw.zcard(DELAYED), raw.hlen(ENTRIES)) == (0, 1, 1)


def test_a_full_memory_refuses_what_is_delayed_and_keeps_nothing_of_it(raw: Raw) -> None:
    """As for what is published now: the caller hears of it. What is kept already still moves."""
    publish("orders", 1, at=datetime(2000, 1, 1, tzinfo=UTC))
    raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(ServerRefused, match="delayed"):
            publish("orders", 2, delay=60)
        assert _promote().moved == 1
    finally:
        raw.config_set("maxmemory", 0)
    assert not raw.exists(DELAYED, ENTRIES)


def test_what_is_published_now_goes_to_its_lane_and_is_delayed_no_more(
    raw: Raw, streams: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Once, however often it is asked for; where its lane isn't declared any more, to the default one."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}}}})
    first, second, kept = (publish("orders", n, lane="high", delay=60) for n in range(3))
    with caplog.at_level(logging.INFO):
        assert waiting.publish_delayed("orders", [first.id, "unknown"], by="ann").done == (first.id,)
    assert "was published by 'ann'" in caplog.text
    assert list(waiting.publish_delayed("orders", [first.id], by="ann").refused) == [first.id]
    assert [fields["id"] for _, fields in raw.xrange("{orders}:lane:high")] == [first.id]
    streams()
    assert waiting.publish_delayed("orders", [second.id], by="ann").done == (second.id,)
    assert [fields["id"] for _, fields in raw.xrange("orders")] == [second.id]
    assert raw.zrange(DELAYED, 0, -1) == raw.hkeys(ENTRIES) == [kept.id]


def test_what_is_discarded_never_is_published(raw: Raw) -> None:
    """It is gone with its entry, and the second who asks is told so."""
    message = publish("orders", 1, delay=0)
    assert waiting.discard_delayed("orders", [message.id], by="ann").done == (message.id,)
    assert list(waiting.discard_delayed("orders", [message.id], by="bob").refused) == [message.id]
    assert _promote().moved == 0
    assert not raw.exists(DELAYED, ENTRIES, "orders")


def test_a_token_without_a_row_is_removed_when_it_is_to_be_published(raw: Raw) -> None:
    """Nothing can be published of it, and it says that it isn't there."""
    raw.zadd(DELAYED, {"lost": 4e12})
    assert list(waiting.publish_delayed("orders", ["lost"], by="ann").refused) == ["lost"]
    assert not raw.exists(DELAYED, "orders")


def test_delayed_messages_are_listed_and_found(raw: Raw, streams: Callable[..., None]) -> None:
    """The next first, as they will be; listing them changes nothing."""
    streams({"orders": {"GROUPS": {"billing": {}}}, "mail": {"FORMAT": "flat"}})
    at = datetime(2100, 1, 1, tzinfo=UTC)
    later = publish("orders", {"n": 1}, type="order.due", at=at)
    sooner = publish("mail", {"n": "1"}, delay=60)
    first, second = inspection.delayed().rows
    assert (first.token, first.message_id, first.stream) == (sooner.id, sooner.id, "mail")
    assert json.loads(first.payload) == {"n": "1"}
    assert (second.token, second.type, second.due, second.group) == (later.id, "order.due", at, "")
    assert inspection.delayed(stream="orders", text="order.due").rows == [second]
    assert inspection.find_delayed("orders", [later.id, sooner.id]) == [second, None]
    assert (raw.zcard(DELAYED), raw.hlen(ENTRIES)) == (1, 1)
