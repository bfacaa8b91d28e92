"""A server's clock that goes back or jumps ahead: no message is late for it, and no living worker is robbed."""

import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_redis_streams import conf, connections, inspection, publish
from django_redis_streams.connections import Link
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.operations import groups
from django_redis_streams.store.consume.clock import ClockRecord, server_time
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.limits import limit_keys
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.store.consume.ownership import claim, hand_back
from django_redis_streams.store.consume.presence import ProcessRecord, present_command
from django_redis_streams.store.consume.promote import LEASE_MS, Held, Promotion, promote
from django_redis_streams.store.consume.read import held_back, read_command
from django_redis_streams.store.scripts import run
from django_redis_streams.worker.services.promoter import Promoter
from django_redis_streams.worker.services.shortening import Shortening
from django_redis_streams.worker.system.clock import ServerClock
from django_redis_streams.worker.timing import DEFAULT_TIMING, Timing

from ..support import states
from ..support.servers import Server
from ..support.waiting import wait_until
from ..support.workers import HASTY, Worker, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
Streams = Callable[..., None]
RETRY, DELAYED, CLOCK = "{orders}:retry:billing", "{orders}:delayed", "{orders}:clock"
BACK = 120_000


@pytest.fixture
def link() -> Link:
    """Return a link to the server."""
    return connections.get()


@pytest.fixture
def wrong(make_server: Callable[..., Server], streams: Streams) -> Server:
    """Return a server with its own clock, to which the default connection leads."""
    own = make_server(own_clock=True)
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 3, "BACKOFF": (0.5, 0.5)}}}}, URL=own.url)
    return own


def went_back(raw: Raw, by: int = BACK) -> None:
    """Make everything as if the server's clock had been so many ms ahead until now, and a worker had seen that."""
    for key in (DELAYED, RETRY):
        for token, due in raw.zrange(key, 0, -1, withscores=True):
            raw.zadd(key, {token: due + by})
    raw.hset(CLOCK, "seen", server_time(connections.get()) + by)


def waits(raw: Raw, key: str) -> dict[str, float]:
    """Return in how many ms each is due, by its token."""
    now = server_time(connections.get())
    return {token: due - now for token, due in raw.zrange(key, 0, -1, withscores=True)}


# ---------------------------------------------------------------- it goes back


def test_what_waits_is_not_late_when_the_clock_goes_back(wrong: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a retry nor a delayed message waits for longer while a worker runs, and the jump is logged."""
    runs: list[tuple[str, int]] = []

    @handler("orders", group="billing")
    def fail_once(message: Message) -> None:
        runs.append((message.payload, message.attempt))
        if message.attempt == 1 and message.payload == "retried":
            wrong.set_clock(-120)
            raise ValueError("again")

    with caplog.at_level(logging.WARNING), working() as worker:
        publish("orders", "delayed", delay=1)
        wait_until(lambda: wrong.raw().hget(CLOCK, "seen"))
        wait_until(worker.runner.claiming.clock.at_the_latest, "maintenance has looked at the clock")
        publish("orders", "retried")
        wait_until(lambda: sorted(runs) == [("delayed", 1), ("retried", 1), ("retried", 2)], deadline=120)
        wait_until(lambda: "The clock of the server of connection 'default' went back by" in caplog.text)
        wait_until(lambda: "orders: the server's clock went back by" in caplog.text)


def test_what_waits_is_held_to_its_wait_though_no_worker_saw_the_clock_go_back(
    raw: Raw, caplog: pytest.LogCaptureFixture
) -> None:
    """The next promoter finds the jump. A message with `at=` keeps its moment, and right due times stay."""
    states.publish(raw, {"n": "1"})
    states.retry(delay=40)
    late = publish("orders", 1, delay=30)
    at = datetime.now(UTC) + timedelta(hours=1)
    absolute = publish("orders", 2, at=at)
    moment = raw.zscore(DELAYED, absolute.id)
    went_back(raw)
    raw.zadd(DELAYED, {absolute.id: moment})
    right = publish("orders", 3, delay=20)
    promoter = Promoter("default", threading.Event(), [conf.stream("orders")], DEFAULT_TIMING)
    with caplog.at_level(logging.WARNING):
        wait_until(lambda: promoter.guarded_step() is not None and "2 retries and delayed messages" in caplog.text)
    (seconds,) = re.findall(r"orders: the server's clock went back by ([0-9.]+) s", caplog.text)
    assert 110 < float(seconds) <= 121  # less the time until it was found
    (retry,), delayed = waits(raw, RETRY).values(), waits(raw, DELAYED)
    assert 30_000 < retry <= 40_000
    assert 20_000 < delayed[late.id] <= 30_000
    assert 10_000 < delayed[right.id] <= 20_000
    assert raw.zscore(DELAYED, absolute.id) == moment
    caplog.clear()
    for _ in range(3):
        promoter._look_at["orders"] = 0
        promoter.guarded_step()
    assert not caplog.text


def test_no_wait_is_more_than_doubled(raw: Raw, link: Link) -> None:
    """Each of many messages waits from now on at most as long as its whole wait, however much of that is over."""
    for n in range(1, 301):
        states.delay(n, seconds=n)
    due = raw.zrange(DELAYED, 0, -1, withscores=True)
    for token, at in due:  # half of its wait is over
        raw.zadd(DELAYED, {token: at - (at - server_time(link)) / 2})
    went_back(raw)
    promoter = Promoter("default", threading.Event(), [conf.stream("orders")], DEFAULT_TIMING)
    wait_until(lambda: promoter.guarded_step() is not None and raw.hget(CLOCK, "jump"))
    now, given = server_time(link), dict(due)
    first = min(given.values())
    for token, at in raw.zrange(DELAYED, 0, -1, withscores=True):
        wait = given[token] - first + 1_000
        assert at - now <= wait + 100


def test_who_is_killed_half_way_leaves_it_to_the_next(raw: Raw, link: Link) -> None:
    """The record of the clock stays until all waiting messages were looked at."""
    for n in range(500):
        states.delay(n, seconds=30)
    went_back(raw)
    stream = conf.stream("orders")
    step = promote(link, stream, [], "killed")
    assert isinstance(step, Promotion)
    assert BACK - 20_000 < step.behind <= BACK
    begun = Shortening(link, stream, [], now=step.now, behind=step.behind)
    assert not begun.step()
    assert 0 < begun.sooner < 500
    raw.delete("{orders}:promoter")
    promoter = Promoter("default", threading.Event(), [stream], DEFAULT_TIMING)
    wait_until(lambda: promoter.guarded_step() is not None and raw.hget(CLOCK, "jump"))
    assert max(waits(raw, DELAYED).values()) <= 30_000


def test_a_clock_that_goes_back_again_meanwhile_is_found(raw: Raw, link: Link) -> None:
    """Then the promoter looks at all messages again, once, and records how far it went back altogether."""
    states.delay(1, seconds=30)
    went_back(raw)
    stream = conf.stream("orders")
    later = server_time(link) + 60_000  # the clock showed this at the beginning
    begun = Shortening(link, stream, [], now=later, behind=BACK)
    assert [begun.step() for _ in range(4)] == [False, False, False, True]
    assert abs(int(raw.hget(CLOCK, "jump")) + BACK + 60_000) < 10_000


def test_a_key_of_a_wrong_type_is_told_and_holds_up_no_promotion(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """The promoter tries a key that it can't read again each second, and moves due messages meanwhile."""
    publish("orders", 1, delay=0)
    raw.hset(CLOCK, "seen", server_time(connections.get()) + BACK)
    raw.set(RETRY, "of a wrong type")
    promoter = Promoter("default", threading.Event(), [conf.stream("orders")], DEFAULT_TIMING)
    with caplog.at_level(logging.ERROR):
        wait_until(lambda: promoter.guarded_step() is not None and raw.xlen("orders") == 1)
        wait_until(lambda: promoter.guarded_step() is not None and "WRONGTYPE" in caplog.text)
    raw.delete(RETRY)
    wait_until(lambda: promoter.guarded_step() is not None and raw.hget(CLOCK, "jump"))


def test_a_lease_from_before_the_clock_went_back_stops_nobody(raw: Raw) -> None:
    """Its holder may be gone. A living holder finds that another has the lease."""
    raw.set("{orders}:promoter", "gone 1", px=LEASE_MS + BACK)
    publish("orders", 1, delay=0)
    promoter = Promoter("default", threading.Event(), [conf.stream("orders")], DEFAULT_TIMING)
    wait_until(lambda: promoter.guarded_step() is not None and raw.xlen("orders") == 1)
    assert isinstance(promote(connections.get(), conf.stream("orders"), [], "gone"), Held)


def test_a_pace_and_slots_from_before_the_clock_went_back_stop_nobody(raw: Raw, streams: Streams, link: Link) -> None:
    """A limited group keeps its pace. A slot ends CLAIM_IDLE from now, as if it had been taken now."""
    streams({"orders": {"GROUPS": {"billing": {"RATE": "10/s", "GROUP_CONCURRENCY": 2, "CLAIM_IDLE": 5}}}})
    place = Membership(conf.stream("orders"), conf.group("orders", "billing"), "c")
    make_group(link, place, "0")
    states.publish(raw, *({"n": str(n)} for n in range(3)))
    rate, slots = limit_keys(place)
    now = server_time(link)
    raw.set(rate, (now + BACK) * 1_000)
    raw.zadd(slots, {"orders/1-1": now + 5_000 + BACK})
    told = held_back(run(link, read_command(place, 10, None)))
    assert told is None or told.wait_ms <= 300
    wait_until(lambda: held_back(run(link, read_command(place, 1, None))) is None, deadline=5)
    assert raw.zscore(slots, "orders/1-1") <= server_time(link) + 5_000


@pytest.mark.parametrize(("rate", "longest"), [("100/s", 10), ("2/s", 500), ("30/m", 2_000), ("1/h", 3_600_000)])
def test_a_pace_from_an_hour_ahead_waits_for_one_interval_at_most(
    raw: Raw, streams: Streams, link: Link, rate: str, longest: int
) -> None:
    """A full limiter never explains more."""
    streams({"orders": {"GROUPS": {"billing": {"RATE": rate}}}})
    place = Membership(conf.stream("orders"), conf.group("orders", "billing"), "c")
    make_group(link, place, "0")
    states.publish(raw, {"n": "1"})
    raw.set(limit_keys(place)[0], (server_time(link) + 2 * 3_600_000) * 1_000)
    told = held_back(run(link, read_command(place, 1, None)))
    assert told is None or told.wait_ms <= longest


def test_what_a_lost_host_held_is_claimed_though_the_clock_went_back(
    wrong: Server, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts as idle from then on; what was handed back is taken at once."""
    wrong.set_clock(3_600)
    for n in range(3):
        publish("orders", n)
    for count, consumer in enumerate(("lost", "leaving"), 1):
        place = Membership(conf.stream("orders"), conf.group("orders", "billing"), consumer)
        make_group(link, place, "0")
        run(link, read_command(place, 2 * count, None))
    hand_back(link, place)
    promote(link, place.stream, ["billing"], "before")
    wrong.set_clock(0)
    wait_until(lambda: abs(server_time(link) / 1_000 - time.time()) < 10)
    runs: list[int] = []
    handler("orders", group="billing")(lambda message: runs.append(message.payload))
    with caplog.at_level(logging.WARNING), working():
        wait_until(lambda: sorted(runs) == [0, 1, 2])
    assert "3 pending messages count as idle from now on" in caplog.text


def test_a_worker_from_before_the_clock_went_back_does_not_live_on(raw: Raw, streams: Streams, link: Link) -> None:
    """What it said then counts no more, and the next worker that says that it is there forgets it."""
    streams({"orders": {"GROUPS": {"billing": {}}}})
    states.publish(raw, {"n": "1"})
    states.acknowledge()
    for group_key in ("orders", "{orders}:redelivery:billing"):
        raw.xgroup_delconsumer(group_key, "billing", "tested")
    raw.zadd("{orders}:workers:billing", {"tested": server_time(link) + BACK})
    assert groups.waiting("orders", "billing").consumers == []
    served = {"billing": ["another"]}
    record = ProcessRecord(
        host="web", pid=7, ms=0, memory=1, quarantine=False, lanes=[], groups={"billing": 1}, runs=()
    )
    run(link, present_command(conf.stream("orders"), "web-7", server_time(link), record, served))
    assert raw.zscore("{orders}:workers:billing", "tested") is None


def test_a_living_worker_counts_again_at_once_after_each_jump(wrong: Server, link: Link) -> None:
    """Though its key has expired with a jump ahead, and would last for an hour after one back."""
    handler("orders", group="billing")(lambda _: None)
    with working(name="web-7", timing=Timing(serve=0.1)) as worker:
        wait_until(lambda: worker.runner.connection.has_read)  # it tells of itself before its group is made
        for ahead in (0, 3_600, 0):
            wrong.set_clock(ahead)
            wait_until(lambda ahead=ahead: abs(server_time(link) / 1_000 - time.time() - ahead) < 10)
            wait_until(lambda: [each.name for each in inspection.workers().processes] == ["web-7"])
            assert [each.alive for each in inspection.consumers("orders", "billing")] == [True]


# ---------------------------------------------------------------- it jumps ahead


def knows_the_clock(worker: Worker) -> bool:
    """Return whether a worker may claim, and has looked at the clock: it tells a jump from the next look on."""
    claiming = worker.runner.claiming
    return claiming.may_claim and claiming.clock.at_the_latest() is not None


def has_seen_the_jump(worker: Worker) -> bool:
    """Return whether a worker has looked at the clock since that is an hour ahead."""
    shown = worker.runner.claiming.clock.at_the_latest()
    return shown is not None and shown > (time.time() + 3_000) * 1_000


def test_nobody_is_robbed_when_the_clock_jumps_ahead(wrong: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A running message seems idle for an hour to free workers, but it runs once, and the jump is logged."""
    runs: list[str] = []

    @handler("orders", group="billing")
    def bill(message: Message) -> None:
        runs.append(message.payload)
        wrong.set_clock(3_600)
        wait_until(lambda: all(map(has_seen_the_jump, workers)))
        time.sleep(1.2)  # and have looked again for messages to claim

    with caplog.at_level(logging.WARNING), ExitStack() as stack:
        workers = [stack.enter_context(working(name=f"tested-{n}")) for n in range(3)]
        wait_until(lambda: all(knows_the_clock(each) for each in workers))
        publish("orders", "slow")
        wait_until(lambda: inspection.group_totals("orders", "billing").get("acknowledged"))
        wait_until(lambda: "jumped ahead by 3" in caplog.text)
    assert runs == ["slow"]


def test_what_a_dead_worker_held_is_claimed_after_a_jump(wrong: Server) -> None:
    """It is claimed once the clock has been steady for half of CLAIM_IDLE."""
    runs: list[int] = []
    handler("orders", group="billing")(lambda message: runs.append(message.payload))
    wrong.raw().xgroup_create("orders", "billing", "0", mkstream=True)
    publish("orders", 1)
    wrong.raw().xreadgroup("billing", "dead", {"orders": ">"})
    with working() as worker:
        wait_until(lambda: knows_the_clock(worker))
        wrong.set_clock(3_600)
        wait_until(lambda: not worker.runner.claiming.may_claim)
        wait_until(lambda: runs == [1], deadline=120)


def test_a_claim_that_comes_after_a_jump_takes_only_what_was_handed_back(
    raw: Raw, streams: Streams, link: Link
) -> None:
    """The server checks its clock itself, since the clock may also jump between the look and the claim."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 0.001}}}})
    place = Membership(conf.stream("orders"), conf.group("orders", "billing"), "returns")
    make_group(link, place, "0")
    first, second = states.publish(raw, {"n": "1"}, {"n": "2"})
    raw.xreadgroup("billing", "returns", {"orders": ">"}, count=1)
    raw.xreadgroup("billing", "holds", {"orders": ">"}, count=1)
    hand_back(link, place)
    wait_until(lambda: raw.xpending_range("orders", "billing", second, second, 1, idle=1))
    other = Membership(place.stream, place.group, "other")
    now = server_time(link)
    assert [each.entry_id for each in claim(link, other, 10, idle_until=now - 1).deliveries] == [first]
    assert [each.entry_id for each in claim(link, other, 10, idle_until=now + 60_000).deliveries] == [second]


def test_a_consumer_claims_no_later_than_its_clock_may_show(raw: Raw, streams: Streams, link: Link) -> None:
    """It claims nothing idle if the server's clock went on by more than the time since maintenance saw it."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 0.5}}}})
    runs: list[str] = []
    handler("orders", group="billing")(lambda message: runs.append(message.payload["n"]))
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    states.publish(raw, {"n": "1"})
    raw.xreadgroup("billing", "dead", {"orders": ">"})
    worker = Worker(timing=HASTY)
    worker.services = []
    worker.start()
    try:
        claiming = worker.runner.claiming
        wait_until(lambda: claiming.may_claim)
        wait_until(lambda: raw.xpending_range("orders", "billing", "-", "+", 1, idle=500))
        claiming.clock.saw(server_time(link) - 3_600_000, time.monotonic(), time.monotonic())
        claiming.stale.set()
        wait_until(lambda: not claiming.stale.is_set())
        states.publish(raw, {"n": "2"})
        wait_until(lambda: runs == ["2"])
        claiming.clock.saw(server_time(link), time.monotonic(), time.monotonic())
        claiming.stale.set()
        wait_until(lambda: runs == ["2", "1"])
    finally:
        worker.end()


# ---------------------------------------------------------------- telling a jump from time that passes


@pytest.mark.parametrize(
    ("shown", "asked", "answered", "jump"),
    [
        (11_000, 1.0, 1.0, 0),
        (11_000, 0.5, 1.5, 0),
        (10_500, 0.4, 5.0, 0),  # the reply was late
        (131_000, 1.0, 1.0, 120_000),
        (131_000, 0.0, 5.0, 116_000),  # by so much at least
        (10_000, 1.0, 1.0, -1_000),
        (-109_000, 1.0, 1.0, -120_000),
        (-109_000, 0.5, 5.0, -119_500),
    ],
)
def test_a_jump_is_told_from_time_that_passes(shown: int, asked: float, answered: float, jump: int) -> None:
    """The size is the least possible one, however late an answer came."""
    clock = ServerClock()
    assert clock.at_the_latest() is None
    assert clock.saw(10_000, 0.0, 0.0) == 0
    assert clock.saw(shown, asked, answered) == jump


# ---------------------------------------------------------------- what is kept of it


def test_what_others_write_into_the_record_of_the_clock_stops_nobody(raw: Raw, link: Link) -> None:
    """Any client can write there: what isn't a number is ignored."""
    raw.hset(CLOCK, mapping={"seen": "garbage", "jump": "-", "jumped": ""})
    publish("orders", 1, delay=0)
    step = promote(link, conf.stream("orders"), [], "me")
    assert step is not None
    assert (step.moved, step.behind) == (1, 0)
    (state,) = inspection.overview("orders").streams
    record = state.clock
    assert record == ClockRecord(record.now, seen=record.seen, newest=record.newest)
    assert record.seen > 0
