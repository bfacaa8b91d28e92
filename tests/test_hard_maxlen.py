"""HARD_MAXLEN: a bound that holds whatever groups need, for those who say that they may lose it."""

import logging
from typing import Any

import pytest
from django.core.checks import run_checks

from django_redis_streams import conf, connections, handler, publish, publish_many
from django_redis_streams.exceptions import ConfigurationError
from django_redis_streams.operations import waiting
from django_redis_streams.store.consume.promote import promote

from .support.waiting import wait_until
from .support.workers import drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
# A block of the server's memory, which is what is removed at once unless EXACT_TRIM says otherwise.
NODE = 100


def bounded(streams: Any, **settings: Any) -> None:
    """The stream holds 200 entries."""
    streams({"orders": {"HARD_MAXLEN": 200, "GROUPS": {"billing": {"CLAIM_IDLE": 0.2}}, **settings}})


@pytest.mark.parametrize("exact", [False, True])
def test_the_oldest_go_though_nobody_has_read_them(streams: Any, raw: Raw, exact: bool) -> None:
    """About so many stay, exactly with EXACT_TRIM; who reads gets those."""
    bounded(streams, EXACT_TRIM=exact)
    runs: list[int] = []
    handler("orders", group="billing")(lambda message: runs.append(message.payload))
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    publish_many("orders", range(1_000))
    assert raw.xlen("orders") == 200 if exact else 200 <= raw.xlen("orders") < 200 + NODE
    drain()
    assert runs == list(range(1_000 - raw.xlen("orders"), 1_000))


def test_single_messages_are_bounded_too(streams: Any, raw: Raw) -> None:
    """By each `publish`."""
    bounded(streams, HARD_MAXLEN=2, EXACT_TRIM=True)
    for n in range(5):
        publish("orders", n)
    assert [fields["data"] for _, fields in raw.xrange("orders")] == ["3", "4"]


def test_each_lane_has_the_bound_for_itself(streams: Any, raw: Raw) -> None:
    """A flood of low ones drops nothing that is urgent."""
    bounded(streams, LANES=["high", "default"], HARD_MAXLEN=2, EXACT_TRIM=True)
    publish("orders", "urgent", lane="high")
    publish_many("orders", range(5))
    assert raw.xlen("{orders}:lane:high") == 1
    assert raw.xlen("orders") == 2


def test_delayed_messages_keep_the_bound_when_they_are_due(streams: Any, raw: Raw) -> None:
    """While they wait they don't count."""
    bounded(streams, HARD_MAXLEN=2, EXACT_TRIM=True)
    publish_many("orders", range(5), delay=0)
    assert raw.zcard("{orders}:delayed") == 5
    assert promote(connections.get(), conf.stream("orders"), [], "me").moved == 5
    assert raw.xlen("orders") == 2


@pytest.mark.parametrize("lane", ["high", "default"])
def test_delayed_messages_keep_the_bound_when_they_are_published_by_hand(streams: Any, raw: Raw, lane: str) -> None:
    """In whatever lane, as if their time had come."""
    bounded(streams, HARD_MAXLEN=2, EXACT_TRIM=True, LANES=["high", "default"])
    ids = [publish("orders", n, delay=60, lane=lane).id for n in range(5)]
    assert waiting.publish_delayed("orders", ids, by="ann").done == tuple(ids)
    entries = raw.xrange(conf.stream("orders").keys.lane(lane))
    assert [fields["data"] for _, fields in entries] == ["3", "4"]


def test_what_is_dropped_while_it_is_pending_is_counted(streams: Any, raw: Raw, caplog: Any) -> None:
    """A message that a dead worker held can't be run any more: it is vanished, and holds up nobody."""
    bounded(streams, HARD_MAXLEN=1, EXACT_TRIM=True)
    runs: list[int] = []
    handler("orders", group="billing")(lambda message: runs.append(message.payload))
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    publish("orders", 1)
    raw.xreadgroup("billing", "dead", {"orders": ">"})
    publish("orders", 2)
    with caplog.at_level(logging.ERROR), working():
        wait_until(lambda: raw.hget("{orders}:totals:billing", "vanished") == "1", deadline=120)
    assert runs == [2]
    assert raw.xpending("orders", "billing")["pending"] == 0
    assert "was deleted while it was pending" in caplog.text


def test_a_running_message_is_finished_though_its_entry_is_gone(streams: Any, raw: Raw) -> None:
    """It was read whole; its retry has it too."""
    bounded(streams, HARD_MAXLEN=1, EXACT_TRIM=True)
    attempts: list[int] = []

    @handler("orders", group="billing", backoff=(0.001, 0.001))
    def charge(message: Any) -> None:
        if message.payload != "first":
            return
        attempts.append(message.attempt)
        if message.attempt == 1:
            publish("orders", "second")
            raise ValueError("again")

    publish("orders", "first")
    with working():
        wait_until(lambda: raw.hget("{orders}:totals:billing", "acknowledged") == "2")
    assert attempts == [1, 2]


def test_it_must_not_be_below_maxlen(streams: Any) -> None:
    """Then trimming would never find anything to do, and what it keeps be dropped."""
    bounded(streams, MAXLEN=300)
    with pytest.raises(ConfigurationError, match="'HARD_MAXLEN' 200, below its 'MAXLEN' 300"):
        conf.get()


def test_a_check_says_what_is_given_up(streams: Any) -> None:
    """Until it is silenced."""
    bounded(streams)
    (warning,) = [each for each in run_checks(tags=["django_redis_streams"]) if each.id.endswith("W021")]
    assert "above 200 entries the oldest are dropped" in warning.msg
    assert "has not read or not settled" in warning.msg
