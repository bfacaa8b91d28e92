"""What workers did lately, minute by minute, as they tell it themselves."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from django_redis_streams import inspection
from django_redis_streams.exceptions import Reject, Retry, UnknownStream
from django_redis_streams.handlers import handler
from django_redis_streams.inspection import Activity
from django_redis_streams.outcomes import HANDLED, Ack
from django_redis_streams.worker.shared.counters import ConsumerCounters

from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import Fleet, drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any


def lately(group: str = "billing", minutes: int = 5) -> Activity:
    """What one group's workers did."""
    found = inspection.activity("orders")
    assert found.problems == []
    of_group = found.of("orders", group)
    assert of_group is not None
    return of_group.last(minutes)


def counts(activity: Activity) -> dict[str, int]:
    """The messages that were counted, by what became of them."""
    names = ("acknowledged", "skipped", "repeated", "retried", "dead_lettered", "claimed", "runs")
    return {name: getattr(activity, name) for name in names if getattr(activity, name)}


def test_each_outcome_is_counted_in_its_minute(raw: Raw) -> None:
    """Acknowledged, retried and dead-lettered, with how long it took."""

    @handler("orders", group="billing")
    def bill(message: Any) -> None:
        if message.payload["n"] == "1":
            raise Reject("no")
        if message.payload["n"] == "2":
            raise Retry(60)
        time.sleep(0.01)

    for n in range(5):
        raw.xadd("orders", {"n": n})
    drain()
    found = lately()
    assert counts(found) == {"acknowledged": 3, "retried": 1, "dead_lettered": 1, "runs": 5}
    assert (found.settled, found.failures) == (4, 2)
    assert 0.03 <= found.running < 60
    assert 0.01 <= found.longest <= found.running
    assert found.mean_duration == pytest.approx(found.running / 5)
    assert counts(lately("loyalty")) == {}


def test_a_group_that_did_nothing_has_minutes_of_nothing() -> None:
    """As many as were asked for; the last is not over yet."""
    found = inspection.activity("orders", minutes=3).of("orders", "billing")
    assert found is not None
    assert [each.settled for each in found.minutes] == [0, 0, 0]
    assert [each.seconds for each in found.minutes[:2]] == [60, 60]
    assert 1 <= found.minutes[2].seconds <= 60
    assert (found.last(3).rate, found.last(3).mean_duration) == (0, None)
    assert [(b.since - a.since).total_seconds() for a, b in zip(found.minutes, found.minutes[1:], strict=False)] == [
        60, 60,
    ]  # fmt: skip


def test_skipped_messages_are_counted_as_such(raw: Raw, streams: Callable[..., None]) -> None:
    """They are settled, and no failure."""
    streams({"orders": {"GROUPS": {"billing": {"UNMATCHED": "skip"}}}})
    handler("orders", group="billing", type="order.created")(lambda _: None)
    raw.xadd("orders", {"type": "order.deleted"})
    drain()
    assert (lately().skipped, lately().acknowledged) == (1, 0)


def test_a_worker_tells_while_it_works(raw: Raw) -> None:
    """About once a second, not at its end."""
    handler("orders", group="billing")(lambda _: None)
    with working():
        raw.xadd("orders", {"n": 1})
        wait_until(lambda: lately().acknowledged == 1)
        raw.xadd("orders", {"n": 2})
        wait_until(lambda: lately().acknowledged == 2)


def test_an_idle_worker_tells_nothing(raw: Raw) -> None:
    """It costs the server no command."""
    handler("orders", group="billing")(lambda _: None)
    drain()
    assert raw.keys("{orders}:stats:*") == []


def test_minutes_are_forgotten(raw: Raw) -> None:
    """Two hours after the last of their figures."""
    handler("orders", group="billing")(lambda _: None)
    raw.xadd("orders", {"n": 1})
    drain()
    (key, *_) = raw.keys("{orders}:stats:*")
    assert 7_100 < raw.ttl(key) <= 7_200


def test_all_processes_of_a_worker_count_into_the_same_minutes(fleet: Fleet, raw: Raw) -> None:
    """Also what they did last before they ended."""
    for n in range(60):
        raw.xadd("orders", {"n": n})
    fleet.drain("--processes", "2", "--threads", "2")
    assert lately().acknowledged == 60


def test_figures_that_cannot_be_told_stop_no_worker(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """They are lost, and the log says why; messages are handled as ever."""
    handler("orders", group="billing")(lambda _: None)
    minute = int(time.time() // 60)
    for each in range(minute, minute + 3):
        raw.set("{orders}:stats:billing:" + str(each), "no hash")
    with working():
        raw.xadd("orders", {"n": 1})
        wait_until(lambda: "Statistics on connection 'default' failed" in caplog.text)
        raw.xadd("orders", {"n": 2})
        wait_until(lambda: raw.hget("{orders}:totals:billing", "acknowledged") == "2")


def test_figures_are_told_at_full_memory(raw: Raw) -> None:
    """When there is trouble is when they are looked at."""
    handler("orders", group="billing")(lambda _: None)
    with working():
        raw.xadd("orders", {"n": 1})
        wait_until(lambda: lately().acknowledged == 1)
        raw.xadd("orders", {"n": 2}, id=f"{raw.time()[0] * 1000 + 60_000}-0")
        raw.config_set("maxmemory", "1")
        try:
            wait_until(lambda: lately().acknowledged == 2)
        finally:
            raw.config_set("maxmemory", "0")


@pytest.mark.parametrize("ahead", [600, -600])
def test_minutes_are_those_of_the_server_s_clock(
    make_server: Callable[..., Server], streams: Callable[..., None], ahead: int
) -> None:
    """Ten minutes off from the clock of the worker, and of who looks, nothing is in another minute."""
    server = make_server("valkey", own_clock=True)
    server.set_clock(ahead)
    streams(URL=server.url)
    handler("orders", group="billing")(lambda _: None)
    server.raw().xadd("orders", {"n": 1})
    drain()
    assert lately().acknowledged == 1
    before = server.raw().time()[0]
    (key,) = server.raw().keys("{orders}:stats:billing:*")
    assert before // 60 - int(key.rpartition(":")[2]) in {0, 1}
    (stream,) = {each.stream for each in inspection.activity().groups}
    last = inspection.activity().of(stream, "billing").minutes[-1]  # type: ignore[union-attr]
    assert before - 60 < last.since.timestamp() <= server.raw().time()[0]


def test_one_round_trip_tells_all(raw: Raw) -> None:
    """Sixty minutes of three groups: each a hash, asked for together."""
    raw.config_resetstat()
    inspection.activity()
    assert raw.info("commandstats")["cmdstat_hgetall"]["calls"] == 180


def test_a_server_that_is_down_hides_no_other(server: Server, settings: Any) -> None:
    """Its streams are problems."""
    settings.REDIS_STREAMS = {
        "CONNECTIONS": {"default": {"URL": server.url}, "down": {"URL": "unix:///nowhere/at.all"}},
        "STREAMS": {"orders": {"GROUPS": {"billing": {}}}, "lost": {"CONNECTION": "down", "GROUPS": {"billing": {}}}},
    }
    found = inspection.activity()
    assert [(each.stream, each.group) for each in found.groups] == [("orders", "billing")]
    assert [each.stream for each in found.problems] == ["lost"]


@pytest.mark.parametrize("minutes", [0, 121])
def test_only_minutes_that_are_kept_can_be_asked_for(minutes: int) -> None:
    """The error says how many these are."""
    with pytest.raises(ValueError, match="expected 1 to 120"):
        inspection.activity(minutes=minutes)


def test_a_stream_that_is_not_declared_is_an_error() -> None:
    """As everywhere."""
    with pytest.raises(UnknownStream):
        inspection.activity("ordres")


def test_what_is_unsent_is_taken_once() -> None:
    """The rescuer of a dead process takes it over, and counts nothing of it again."""
    dead, rescuers = ConsumerCounters(), ConsumerCounters()
    dead.settled(Ack(), 3)
    assert dead.take_unsent() == {"acknowledged": 3}
    dead.settled(Ack(), 2)
    dead.ran([0.25, 0.5])
    rescuers.inherit_unsent(dead)
    rescuers.retried()
    assert dead.take_unsent() == {}
    assert rescuers.take_unsent() == {"acknowledged": 2, "runs": 2, "microseconds": 750_000, "retried": 1}
    assert (rescuers.take_unsent(), rescuers.take_longest()) == ({}, 0.5)
    assert sum(rescuers.read().counts) == 1


def test_the_longest_run_is_taken_once() -> None:
    """Each minute has its own."""
    counters = ConsumerCounters()
    counters.ran([0.5, 0.25])
    assert (counters.take_longest(), counters.take_longest()) == (0.5, 0)
    assert (counters.read().runs, counters.read().seconds) == (2, 0.75)


@pytest.mark.parametrize(
    "act",
    [
        lambda counters: counters.settled(HANDLED, 1),
        lambda counters: counters.claimed(1),
        lambda counters: counters.ran([0.1]),
        lambda counters: counters.retried(),
    ],
)
def test_what_a_consumer_does_after_it_idled_is_seen_and_sent(act: Callable[[ConsumerCounters], None]) -> None:
    """Hundreds of idle ones are asked each second, and compare nothing while they have counted nothing."""
    counters = ConsumerCounters("orders", "billing")
    for _ in range(2):
        assert not counters.has_unsent
        before = counters.activity
        act(counters)
        assert counters.activity != before
        assert counters.has_unsent
        assert counters.has_unsent
        assert counters.take_unsent()
