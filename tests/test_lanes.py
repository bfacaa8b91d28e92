"""Lanes: the priorities of a stream, on a real server."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from django_redis_streams import apublish, conf, connections, inspection, publish, publish_many
from django_redis_streams.exceptions import InvalidMessage, Reject, Retry
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.operations import dead_letters
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.store.consume.read import delivered, read_command, refused
from django_redis_streams.store.consume.trim import trim
from django_redis_streams.store.scripts import run
from django_redis_streams.worker.timing import Timing

from .support.books import letters, totals
from .support.waiting import wait_until
from .support.workers import Fleet, drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
LANES = ["high", "default", "low"]
HIGH, LOW = "{orders}:lane:high", "{orders}:lane:low"
REDELIVERY = "{orders}:redelivery:billing"
bill = handler("orders", group="billing")


@pytest.fixture
def lanes(streams: Callable[..., None]) -> Callable[..., None]:
    """Declares the stream with lanes, and with other settings of stream and group."""

    def declare(group: dict[str, Any] | None = None, **settings: Any) -> None:
        streams({"orders": {"LANES": LANES, "GROUPS": {"billing": group or {}}, **settings}})

    declare()
    return declare


def member(consumer: str = "c") -> Membership:
    """A consumer of the group, which is made."""
    found = Membership(conf.stream("orders"), conf.group("orders", "billing"), consumer)
    make_group(connections.get(), found, "0")
    return found


def read(place: Membership, count: int) -> list[str]:
    """The lanes of what one read delivers, with a star where it is redelivered."""
    reply = run(connections.get(), read_command(place, count, None))
    return [f"{each.origin.lane}{'*' * each.redelivered}" for each in delivered(place, reply)]


def fill(raw: Raw, count: int, *keys: str) -> None:
    """Append entries to these streams."""
    pipeline = raw.pipeline(transaction=False)
    for key in keys:
        for n in range(count):
            pipeline.xadd(
                key, {"drs": '{"id":"x","source":"orders","entry":"1-1"}', "n": n} if ":re" in key else {"n": n}
            )
    pipeline.execute()


# ---------------------------------------------------------------- publishing


def test_a_message_is_published_to_its_lane(lanes: Any, raw: Raw) -> None:
    """The default lane is the plain stream, so clients that know of no lanes go on."""
    assert publish("orders", {"n": 1}, lane="high").lane == "high"
    assert publish_many("orders", [{"n": 2}, {"n": 3}], lane="low") == 2
    publish("orders", {"n": 4})
    publish("orders", {"n": 5}, lane="default")
    assert [raw.xlen(key) for key in (HIGH, LOW, "orders")] == [1, 2, 2]


async def _apublish() -> Message:
    return await apublish("orders", {}, lane="high")


def test_a_coroutine_publishes_to_a_lane(lanes: Any, raw: Raw) -> None:
    """As the function does."""
    assert asyncio.run(_apublish()).lane == "high"
    assert raw.xlen(HIGH) == 1


@pytest.mark.parametrize("wrong", ["hihg", "", 1, ["high"]])
def test_a_lane_that_is_not_declared_is_refused_at_the_call(lanes: Any, wrong: Any) -> None:
    """And the error names those that are."""
    with pytest.raises(InvalidMessage, match=r"expected one of the LANES of stream 'orders'.*'high'"):
        publish("orders", {}, lane=wrong)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"LANES": "high"}, "expected a list of two or more different names"),
        ({"LANES": ["default"]}, "expected a list of two or more different names"),
        ({"LANES": ["high", "low"]}, "one of them 'default'"),
        ({"LANES": ["default", "high", "high"]}, "different names"),
        ({"LANES": ["default", "a:b"]}, "The lane name 'a:b' holds ':'. Take a name without {"),
        ({"LANES": ["default", "{a}"]}, "The lane name '{a}' holds '{'."),
        ({"LANE_WEIGHTS": {"high": 1}}, "has 'LANE_WEIGHTS' without 'LANES'"),
        ({"LANES": LANES, "LANE_WEIGHTS": {"hihg": 2}}, "none of its LANES. Did you mean 'high'?"),
        ({"LANES": LANES, "LANE_WEIGHTS": {"high": 0}}, "expected a dict with lanes as its keys"),
        ({"LANES": LANES, "LANE_WEIGHTS": ["high"]}, "expected a dict with lanes as its keys"),
    ],
)
def test_lanes_that_cannot_be_are_told(streams: Callable[..., None], declared: dict[str, Any], said: str) -> None:
    """Each once, with what was expected."""
    streams({"orders": declared})
    (problem,) = conf.problems()
    assert said in problem.sentence


def test_weights_are_those_of_all_lanes(lanes: Any) -> None:
    """In their order, and 1 where none was given."""
    lanes(LANE_WEIGHTS={"default": 3})
    assert list((conf.stream("orders").lane_weights or {}).items()) == [("high", 1), ("default", 3), ("low", 1)]


# ---------------------------------------------------------------- reading


def test_a_lane_is_read_when_those_before_it_have_nothing_unread(lanes: Any, raw: Raw) -> None:
    """Strict priority, in the order of LANES."""
    place = member()
    fill(raw, 4, LOW, "orders", HIGH)
    assert read(place, 10) == ["high"] * 4 + ["default"] * 4 + ["low"] * 2
    assert read(place, 10) == ["low"] * 2
    assert read(place, 10) == []


def test_weights_share_what_is_read(lanes: Any, raw: Raw) -> None:
    """Each lane gets its share, a lane without a weight counts as 1."""
    lanes(LANE_WEIGHTS={"high": 6, "default": 3})
    place = member()
    fill(raw, 100, LOW, "orders", HIGH)
    assert Counter(read(place, 10)) == {"high": 6, "default": 3, "low": 1}


def test_weights_starve_no_lane_where_one_message_is_read_at_once(lanes: Any, raw: Raw) -> None:
    """Shares below one are rounded by lot, and so is the half of what is redelivered."""
    lanes(LANE_WEIGHTS={"high": 2, "low": 1})
    place = member()
    fill(raw, 300, HIGH, "orders", LOW, REDELIVERY)
    counted = Counter(read(place, 1)[0] for _ in range(300))
    assert counted["high"] > counted["low"] > 20
    assert counted["default"] > 10
    assert counted["default*"] > 10


def test_what_a_lane_does_not_use_goes_to_the_others(lanes: Any, raw: Raw) -> None:
    """Weights never leave a read half empty."""
    lanes(LANE_WEIGHTS={"high": 8})
    place = member()
    fill(raw, 20, LOW)
    assert read(place, 10) == ["low"] * 10


@pytest.mark.parametrize("weights", [None, {"high": 5}])
def test_redelivery_takes_no_more_than_half_while_there_is_anything_new(lanes: Any, raw: Raw, weights: Any) -> None:
    """And all, where there is nothing else."""
    lanes(LANE_WEIGHTS=weights)
    place = member()
    fill(raw, 200, f"{REDELIVERY}:high")
    fill(raw, 60, "orders")
    live = 0
    while live + 10 <= 60:
        got = Counter(read(place, 10))
        assert got["high*"] <= 5
        assert sum(got.values()) == 10
        live += got["default"]
    read(place, 10)
    read(place, 10)
    assert read(place, 10) == ["high*"] * 10


def test_an_idle_worker_takes_a_message_of_any_lane_at_once(lanes: Any, raw: Raw) -> None:
    """It waits for all of them in one blocked read."""
    seen: list[str] = []
    bill(lambda message: seen.append(message.lane))
    with working(timing=Timing(block=60)) as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        for lane in ("low", "high", "default"):
            wait_until(lambda: any(each["cmd"] == "xreadgroup" and "b" in each["flags"] for each in raw.client_list()))
            publish("orders", {}, lane=lane)
            wait_until(lambda lane=lane: seen and seen[-1] == lane)


def test_a_group_that_is_missing_on_one_lane_keeps_no_other_from_being_read(lanes: Any, raw: Raw) -> None:
    """What the others had to deliver is handled, and the group is made again."""
    place = member()
    fill(raw, 2, HIGH, LOW)
    raw.xgroup_destroy("orders", "billing")
    reply = run(connections.get(), read_command(place, 10, None))
    assert [each.origin.lane for each in delivered(place, reply)] == ["high"] * 2 + ["low"] * 2
    assert "NOGROUP" in str(refused(reply))


def test_a_worker_makes_the_group_of_a_lane_again(lanes: Any, raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """Loudly, while it goes on with what it was given by the others; nothing is lost."""
    seen: list[str] = []
    bill(lambda message: seen.append(message.payload["n"]))
    with working() as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        raw.delete(HIGH)
        raw.xadd(LOW, {"n": "low"})
        raw.xadd(HIGH, {"n": "high"})
        wait_until(lambda: {"high", "low"} <= set(seen))
        wait_until(lambda: "was created again" in caplog.text, "whichever thread has made it says so")


def test_scripts_that_are_flushed_stop_no_reading(lanes: Any, raw: Raw) -> None:
    """The worker sends them again."""
    seen: list[str] = []
    bill(lambda message: seen.append(message.lane))
    with working() as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        for n in range(1, 4):
            raw.script_flush()
            publish("orders", {}, lane="high")
            publish("orders", {}, lane="low")
            wait_until(lambda n=n: totals(raw) == {"acknowledged": 2 * n})


# ---------------------------------------------------------------- a message stays in its lane


def test_a_retry_comes_back_in_its_own_lane(lanes: Any, raw: Raw) -> None:
    """By the redelivery stream of that lane."""
    lanes({"BACKOFF": (0.01, 0.02)})
    seen: list[tuple[str, int]] = []

    @bill
    def run_once(message: Message) -> None:
        seen.append((message.lane, message.attempt))
        if message.attempt == 1:
            raise RuntimeError("once")

    publish("orders", {}, lane="high")
    with working():
        wait_until(lambda: totals(raw).get("acknowledged"))
    assert seen == [("high", 1), ("high", 2)]
    assert raw.xlen(f"{REDELIVERY}:high") == 0
    assert raw.xinfo_stream(REDELIVERY)["last-generated-id"] == "0-0"


def test_a_drain_does_not_end_while_a_retry_is_due(lanes: Any, raw: Raw) -> None:
    """Nor where whoever moves it is late, as after a promoter's death."""
    raw.set("{orders}:promoter", "a dead process", px=400)

    @bill
    def run(message: Message) -> None:
        if message.attempt == 1:
            raise Retry(delay=0)

    publish("orders", {}, lane="high")
    drain()
    assert totals(raw) == {"acknowledged": 1, "retried": 1}


def test_a_dead_letter_tells_its_lane_and_is_replayed_to_it(lanes: Any, raw: Raw) -> None:
    """Nowhere else, with its attempts at zero."""

    @bill
    def run(message: Message) -> None:
        if not raw.exists("mended"):
            raise Reject("not yet")
        seen.append((message.lane, message.attempt))

    seen: list[tuple[str, int]] = []
    publish("orders", {}, lane="low")
    drain()
    assert letters(raw)[0].metadata["lane"] == "low"
    ((entry_id, _),) = raw.xrange("{orders}:dlq")
    assert dead_letters.replay("orders", [entry_id], by="a test").done == (entry_id,)
    assert raw.xlen(f"{REDELIVERY}:low") == 1
    raw.set("mended", "1")
    drain()
    assert seen == [("low", 1)]


@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_replays_do_not_starve_live_traffic(lanes: Any, raw: Raw, count: int) -> None:
    """However many wait, what is published is handled about as fast as they are."""
    member()
    order: list[str] = []
    bill(lambda message: order.append("replay" if message.payload["n"] == "0" else "live"))
    replay = {"drs": '{"id":"x","source":"orders","entry":"1-1","replays":1}', "n": "0"}
    pipeline = raw.pipeline(transaction=False)
    for _ in range(count):
        pipeline.xadd(f"{REDELIVERY}:high", replay)
    for _ in range(200):
        pipeline.xadd(LOW, {"n": "1"})
    pipeline.execute()
    with working():
        wait_until(lambda: order.count("live") == 200, deadline=120)
    last = max(index for index, each in enumerate(order) if each == "live")
    assert last < 1_000


# ---------------------------------------------------------------- lanes that come and go


def test_declaring_lanes_strands_nothing(streams: Callable[..., None], lanes: Any, raw: Raw) -> None:
    """What was unread, pending and waiting before goes on in the default lane."""
    streams({"orders": {"GROUPS": {"billing": {"BACKOFF": (0.01, 0.02)}}}})
    place = member("gone")
    fill(raw, 3, "orders", REDELIVERY)
    raw.xreadgroup("billing", "returned", {"orders": ">"}, count=1)
    assert place.sources == (REDELIVERY, "orders")
    lanes({"CLAIM_IDLE": 0.2})
    seen: list[str] = []
    bill(lambda message: seen.append(message.lane))
    with working():
        wait_until(lambda: totals(raw) == {"acknowledged": 6})
    assert seen == ["default"] * 6


@pytest.mark.parametrize("start", ["0", "$"])
def test_a_new_lane_of_a_known_group_begins_at_its_beginning(lanes: Any, raw: Raw, start: str) -> None:
    """What was published to it before the first worker came that reads it isn't skipped."""
    link = connections.get()
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    raw.xadd(HIGH, {"n": 1})
    make_group(link, Membership(conf.stream("orders"), conf.group("orders", "billing"), "c"), start)
    assert read(member(), 5) == ["high"]


def test_a_new_group_begins_on_each_lane_where_start_says(lanes: Any, raw: Raw) -> None:
    """And there again, when it is gone."""
    raw.xadd(HIGH, {"n": 1})
    place = Membership(conf.stream("orders"), conf.group("orders", "billing"), "c")
    make_group(connections.get(), place, "$")
    raw.xadd(HIGH, {"n": 2})
    assert read(place, 5) == ["high"]
    raw.xgroup_destroy(HIGH, "billing")
    assert make_group(connections.get(), place, "0")
    assert read(place, 5) == ["high"]


def test_what_waits_in_a_lane_that_was_removed_is_told(
    lanes: Any, streams: Callable[..., None], raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    """By a warning that names the lane and how many; what is due or replayed comes by the default lane."""
    lanes({"BACKOFF": (0.01, 0.02)})
    member()
    publish_many("orders", [{}, {}, {}], lane="low")
    read(member(), 1)
    streams({"orders": {"GROUPS": {"billing": {}}}})
    bill(lambda _: None)
    caplog.set_level(logging.WARNING)
    with working():
        wait_until(lambda: "orders:billing: up to 3 messages wait in lane 'low'" in caplog.text)
    (books,) = inspection.books("orders")
    assert books.waiting in {3, None}
    assert books.missing in {0, None}


def test_a_retry_of_a_lane_that_was_removed_is_run(lanes: Any, streams: Callable[..., None], raw: Raw) -> None:
    """By the default lane: nobody would read its own."""
    lanes({"BACKOFF": (0.01, 0.02)})
    runs: list[str] = []

    @bill
    def run(message: Message) -> None:
        runs.append(message.id)
        if message.attempt == 1:
            raise RuntimeError("once")

    publish("orders", {}, lane="low")
    drain()
    if not totals(raw).get("acknowledged"):
        streams({"orders": {"GROUPS": {"billing": {}}}})
        with working():
            wait_until(lambda: totals(raw).get("acknowledged"))
    assert len(set(runs)) == 1


# ---------------------------------------------------------------- upkeep, books, crashes


def test_each_lane_is_trimmed_by_itself_and_keeps_what_is_unread(lanes: Any, raw: Raw) -> None:
    """MAXLEN counts in each."""
    lanes(MAXLEN=2, EXACT_TRIM=True)
    bill(lambda _: None)
    fill(raw, 5, HIGH, "orders")
    drain()
    fill(raw, 4, LOW)
    while trim(connections.get(), conf.stream("orders")):
        pass
    assert [raw.xlen(key) for key in (HIGH, "orders", LOW)] == [2, 2, 4]


def test_the_books_and_the_pending_list_hold_all_lanes(lanes: Any, raw: Raw) -> None:
    """Each pending message with its lane; the sums balance."""
    fill(raw, 2, HIGH, "orders", LOW)
    place = member()
    read(place, 3)
    (books,) = inspection.books("orders")
    assert books.pending == 3
    assert books.unread in {3, None}  # Redis before 7.0 can't tell
    assert books.missing in {0, None}
    rows = inspection.pending(stream="orders").rows
    assert Counter((row.lane, row.source) for row in rows) == {("high", "main:high"): 2, ("default", "main"): 1}
    (found,) = inspection.find_pending("orders", [("billing", rows[0].source, rows[0].entry_id)])
    assert found is not None
    assert found.message_id == rows[0].message_id


def test_what_a_killed_worker_held_in_any_lane_is_handled(raw: Raw, tmp_path: Any, server: Any) -> None:
    """Nothing is lost by kill -9, whichever lane it came from."""
    raw.flushall()
    fleet = Fleet(tmp_path, server.url, {"orders": {"LANES": LANES, "GROUPS": {"billing": {"BACKOFF": (0.01, 0.02)}}}})
    try:
        for number, key in enumerate((HIGH, "orders", LOW)):
            for do in ("ok", f"die-once:{tmp_path / str(number)}", "fail-once"):
                raw.xadd(key, {"do": do})
        fleet.drain(deadline=120)
        assert totals(raw) == {"acknowledged": 9, "retried": 3}
    finally:
        fleet.end()
