"""All streams and groups at a glance: what is there, what waits and since when, at a bounded cost."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from django_redis_streams import inspection
from django_redis_streams.exceptions import ServerUnreachable
from django_redis_streams.inspection import GroupState, StreamState
from django_redis_streams.operations import groups, waiting

from .support import states
from .support.servers import Server
from .support.waiting import undisturbed, wait_until

Raw = Any


@pytest.fixture(autouse=True)
def _empty(streams: Callable[..., None]) -> None:
    """Begin with an empty server."""


def the_stream() -> StreamState:
    """The one stream."""
    found = inspection.overview()
    assert found.problems == []
    (stream,) = found.streams
    return stream


def the_group(name: str = "billing") -> GroupState:
    """One of its groups."""
    (found,) = [each for each in the_stream().groups if each.name == name]
    return found


def published(raw: Raw, *seconds_ago: float, key: str = "orders") -> None:
    """Append entries that are so old."""
    seconds, microseconds = raw.time()
    for ago in seconds_ago:
        raw.xadd(key, {"a": "1"}, id=f"{seconds * 1000 + microseconds // 1000 - round(ago * 1000)}-1")


def test_a_stream_that_was_never_used_is_empty() -> None:
    """Nothing is there, nothing waits, and nothing is made by looking."""
    stream = the_stream()
    assert (stream.name, stream.length, stream.dead_letters, stream.undeclared_groups) == ("orders", 0, 0, 0)
    assert [each.name for each in stream.groups] == ["billing", "loyalty", "analytics"]
    for each in stream.groups:
        assert (each.unread, each.pending, each.retrying, each.consumers) == (0, 0, 0, 0)
        assert (each.oldest_unread, each.oldest_pending, each.paused) == (0, 0, None)


def test_what_waits_is_counted_by_its_state(raw: Raw) -> None:
    """Unread, pending, waiting for a retry, dead: each where it is."""
    states.publish(raw, {"a": "1"})
    states.bury()
    states.publish(raw, {"a": "2"})
    states.retry()
    states.publish(raw, {"a": "3"}, {"a": "4"})
    states.deliver(count=1)
    stream, billing = the_stream(), the_group()
    assert (stream.length, stream.dead_letters) == (4, 1)
    assert (billing.unread, billing.pending, billing.retrying, billing.consumers) == (0, 2, 1, 1)
    assert the_group("loyalty").unread == 4


def test_ages_are_those_of_the_oldest(raw: Raw) -> None:
    """Of what is unread and of what is pending, by the server's clock."""
    published(raw, 300, 200)
    states.deliver()
    published(raw, 100, 50)
    billing, loyalty = the_group(), the_group("loyalty")
    assert 300 <= billing.oldest_pending < 310
    assert 100 <= billing.oldest_unread < 110
    assert 300 <= loyalty.oldest_unread < 310
    assert loyalty.oldest_pending == 0


def test_an_id_in_the_future_is_of_an_unknown_age(raw: Raw) -> None:
    """A client may have made it up. An older entry's age is known."""
    published(raw, -100)
    assert the_group().oldest_unread is None
    assert 99 < the_stream().clock.ids_ahead <= 101
    states.deliver()
    assert (the_group().oldest_unread, the_group().oldest_pending) == (0, None)
    published(raw, 70, key="{orders}:redelivery:billing")
    assert 70 <= the_group().oldest_unread < 80


def test_an_id_a_little_ahead_is_new(raw: Raw) -> None:
    """Clocks differ by less than a second all the time."""
    published(raw, -0.5)
    assert the_group().oldest_unread == 0
    assert the_stream().clock.ids_ahead == 0


def test_what_is_redelivered_waits_too(raw: Raw) -> None:
    """It counts as unread since it was due, and as pending when it was delivered again."""
    states.deliver()
    published(raw, 70, key="{orders}:redelivery:billing")
    assert (the_group().unread, the_group().pending) == (1, 0)
    assert 70 <= the_group().oldest_unread < 80
    states.deliver()
    assert (the_group().unread, the_group().pending) == (0, 1)
    assert 70 <= the_group().oldest_pending < 80
    assert the_group("loyalty").unread == 0


def idle(raw: Raw, entries: list[str], seconds: float, *, consumer: str, key: str = "orders") -> None:
    """Let a consumer hold entries, idle for so long."""
    raw.xclaim(key, "billing", consumer, 0, entries, idle=round(seconds * 1000), justid=True)


def test_what_is_held_for_longest_is_found_however_old_it_is(raw: Raw) -> None:
    """An old message that was just delivered is held for a moment; a renewed one for as long as since then."""
    assert the_group().longest_idle == 0
    published(raw, 7200, 7100)
    ids = [each.entry_id for each in states.deliver()]
    assert 0 <= the_group().longest_idle < 10
    idle(raw, ids, 300, consumer="tested")
    assert 300 <= the_group().longest_idle < 310
    idle(raw, ids, 0, consumer="tested")
    assert 0 <= the_group().longest_idle < 10
    assert the_group().oldest_pending >= 7200


def test_what_any_consumer_holds_for_longest_is_found(raw: Raw) -> None:
    """Behind others' messages, on the redelivery stream, too; but nobody holds what was handed back."""
    published(raw, *range(130, 100, -1))
    *older, newest = [each.entry_id for each in states.deliver()]
    idle(raw, [newest], 300, consumer="other")
    assert 300 <= the_group().longest_idle < 310
    published(raw, 70, key="{orders}:redelivery:billing")
    (again,) = [each.entry_id for each in states.deliver()]
    idle(raw, [again], 500, consumer="tested", key="{orders}:redelivery:billing")
    assert 500 <= the_group().longest_idle < 510
    idle(raw, older[:1], 900, consumer="returned")
    assert 500 <= the_group().longest_idle < 510


def test_all_lanes_count(raw: Raw, streams: Any) -> None:
    """Their entries are the stream's, and the oldest of any is the oldest; a group that isn't there has read none."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}}}})
    published(raw, 20)
    states.deliver()
    published(raw, 90, 10, key="{orders}:lane:high")
    raw.xgroup_destroy("orders", "billing")
    assert the_stream().length == 3
    assert the_group().unread == 3
    assert 90 <= the_group().oldest_unread < 100
    states.deliver()
    assert (the_group().unread, the_group().pending) == (0, 3)
    assert 90 <= the_group().oldest_pending < 100


def test_what_the_server_cannot_know_is_unknown(raw: Raw) -> None:
    """After a deletion in the midst nobody can tell how much is unread, but how long it waits."""
    published(raw, 60, 50, 40, 30)
    entries = [entry for entry, _ in raw.xrange("orders")]
    states.deliver(count=1)
    raw.xdel("orders", entries[2])
    raw.xgroup_setid("orders", "billing", entries[0])
    assert the_group().unread is None
    assert 50 <= the_group().oldest_unread < 60


def test_only_the_living_are_consumers(raw: Raw, streams: Any) -> None:
    """Neither those that were silent for CLAIM_IDLE, nor the name that what was handed back is under."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 0.2}}}})
    states.publish(raw, {"a": "1"}, {"a": "2"})
    ids = [each.entry_id for each in states.deliver(consumer="gone")]
    raw.delete("{orders}:workers:billing")  # it is another client's
    raw.xclaim("orders", "billing", "returned", 0, [ids[0]], justid=True)
    wait_until(lambda: the_group().consumers == 0)

    def here() -> int:
        # Redis 6.2 hears of a consumer only when it gets something.
        states.publish(raw, {"a": "3"})
        states.deliver(consumer="here")
        raw.delete("{orders}:workers:billing")
        return the_group().consumers

    assert undisturbed(here, 0.2) == 1


def test_groups_that_nobody_declares_are_counted(raw: Raw) -> None:
    """They aren't listed: whoever makes groups by the hundred mustn't make series by the hundred."""
    for name in ("billing", "retired", "foreign"):
        raw.xgroup_create("orders", name, mkstream=True)
    assert the_stream().undeclared_groups == 2


def test_what_is_delayed_is_counted(raw: Raw) -> None:
    """Until it is published: then it is unread."""
    kept, published = (states.delay({"n": n}) for n in range(2))
    assert (the_stream().delayed, the_stream().length) == (2, 0)
    waiting.publish_delayed("orders", [published], by="ann")
    assert (the_stream().delayed, the_stream().length) == (1, 1)
    assert kept
    assert len(the_stream().groups) == 3


def test_a_paused_group_says_since_when() -> None:
    """Its messages wait on purpose."""
    groups.pause("orders", "billing", by="tests")
    assert the_group().paused is not None
    assert the_group("loyalty").paused is None


def test_a_server_is_asked_once(raw: Raw, streams: Any) -> None:
    """However many streams, groups and entries there are: one command a stream."""
    streams({name: {"GROUPS": {"billing": {}, "loyalty": {}}} for name in ("orders", "tasks", "mails")})
    for name in ("orders", "tasks", "mails"):
        states.publish(raw, *[{"a": "1"}] * 50, stream=name)
        states.deliver(name)
    inspection.overview()
    raw.config_resetstat()
    inspection.overview()
    calls = {name: stats["calls"] for name, stats in raw.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] == 3
    assert calls["cmdstat_xrange"] == 6


def test_what_servers_say_comes_in_the_same_round_trip(raw: Raw, streams: Any) -> None:
    """If it is asked for: INFO once, however many streams there are."""
    streams({name: {"GROUPS": {"billing": {}}} for name in ("orders", "tasks")})
    assert inspection.overview().servers == []
    raw.config_resetstat()
    (server,) = inspection.overview(with_servers=True).servers
    assert raw.info("commandstats")["cmdstat_info"]["calls"] == 1
    assert server.connection == "default"
    assert (server.clock_ahead, server.clock_jump) == (0, 0)


def test_looking_needs_no_room(raw: Raw) -> None:
    """At full memory it can be seen what fills it."""
    states.publish(raw, {"a": "1"})
    states.deliver()
    raw.config_set("maxmemory", "1mb")
    try:
        assert the_group().pending == 1
    finally:
        raw.config_set("maxmemory", "0")


def test_a_server_that_is_down_hides_no_other(raw: Raw, server: Server, settings: Any) -> None:
    """Each of its streams is a problem; so is a stream whose keys aren't ours."""
    settings.REDIS_STREAMS = {
        "CONNECTIONS": {"default": {"URL": server.url}, "down": {"URL": "unix:///nowhere/at.all"}},
        "STREAMS": {
            "lost": {"CONNECTION": "down", "GROUPS": {"billing": {}}},
            "orders": {"GROUPS": {"billing": {}}},
            "strange": {"GROUPS": {"billing": {}}},
        },
    }
    raw.set("strange", "text")
    found = inspection.overview()
    assert [each.name for each in found.streams] == ["orders"]
    problems = {each.stream: type(each.error) for each in found.problems}
    assert set(problems) == {"lost", "strange"}
    assert problems["lost"] is ServerUnreachable
    assert issubclass(problems["strange"], ResponseError)
