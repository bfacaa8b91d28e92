"""What the workers of a group share: how many messages a second they begin, and how many they run at once."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams import conf, connections
from django_redis_streams.connections import Link
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.operations import groups
from django_redis_streams.outcomes import REPEATED, Ack, DeadLetter, Outcome, Reason, RetryLater
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.store.consume.ownership import claim, hand_back
from django_redis_streams.worker.timing import Timing

from .support import states
from .support.books import books, totals
from .support.servers import Server
from .support.states import deliver, settle
from .support.waiting import wait_until
from .support.workers import Fleet, drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
SLOTS = "{orders}:limits:billing:slots"
Declare = Callable[..., None]
bill = handler("orders", group="billing")


@pytest.fixture
def limits(streams: Callable[..., None]) -> Declare:
    """Declares the stream with limits, and other settings, of its group."""

    def declare(*, lanes: list[str] | None = None, **group: Any) -> None:
        streams({"orders": {"LANES": lanes, "GROUPS": {"billing": {"BACKOFF": (0.001, 0.001), **group}}}})

    return declare


def deliver_past_limits(raw: Raw, count: int) -> tuple[Membership, Link]:
    """A consumer with so many messages that it got without a slot, as before there were limits; and a link."""
    place, link = Membership(conf.stream("orders"), conf.group("orders", "billing"), "tested"), connections.get()
    make_group(link, place, "0")
    raw.xreadgroup("billing", "tested", {"orders": ">"}, count=count)
    return place, link


def publish(raw: Raw, count: int) -> None:
    """Publish so many messages."""
    states.publish(raw, *({"n": str(n)} for n in range(count)))


def slots(raw: Raw) -> list[str]:
    """The messages that hold a slot."""
    return raw.zrange(SLOTS, 0, -1)


class Running:
    """A handler that tells how many of its runs there are at the same time, and begins when it is let."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = self.runs = 0
        self.let = threading.Event()
        bill(self.run)

    def run(self, _: Message) -> None:
        """The handler."""
        with self.lock:
            self.now += 1
            self.runs += 1
            self.most = max(self.most, self.now)
        assert self.let.wait(20)
        with self.lock:
            self.now -= 1


def workers(count: int) -> ExitStack:
    """So many workers, which are stopped at its end."""
    stack = ExitStack()
    for n in range(count):
        stack.enter_context(working(name=f"tested-{n}"))
    return stack


# ---------------------------------------------------------------- at a rate


@pytest.mark.parametrize("lanes", [None, ["high", "default"]], ids=["plain", "lanes"])
def test_all_workers_together_begin_no_more_than_the_rate(limits: Declare, raw: Raw, lanes: list[str] | None) -> None:
    """A tenth of a second's worth may come at once; after that each waits for its turn, whoever runs it."""
    limits(RATE="100/s", lanes=lanes)
    moments: list[float] = []
    bill(lambda _: moments.append(time.monotonic()))
    publish(raw, 60)
    began = time.monotonic()
    with workers(3):
        wait_until(lambda: len(moments) == 60)
    assert max(moments) - began > 0.49  # ten at once, then fifty


def test_retries_count_too(limits: Declare, raw: Raw) -> None:
    """A run is a run: what fails at once, again and again, doesn't go past the rate."""
    limits(RATE="50/s", MAX_RETRIES=9)
    moments: list[float] = []

    @bill
    def fail(_: Message) -> None:
        moments.append(time.monotonic())
        raise RuntimeError

    publish(raw, 3)
    began = time.monotonic()
    with workers(2):
        wait_until(lambda: totals(raw).get("dead-lettered") == 3)
    assert len(moments) == 30
    assert max(moments) - began > 0.49  # five at once, then twenty-five


def test_what_is_claimed_counts_too(limits: Declare, raw: Raw) -> None:
    """What another left is begun at the same pace."""
    limits(RATE="10/s")
    publish(raw, 3)
    place, link = deliver_past_limits(raw, 3)
    hand_back(link, place)
    assert len(claim(link, place, 10, idle_until=0).deliveries) == 1


def test_an_idle_worker_takes_a_message_at_once(limits: Declare, raw: Raw) -> None:
    """It waits for one without a read that would deliver more than the limit, and not until that wait is over."""
    limits(RATE="1000/s", GROUP_CONCURRENCY=5)
    seen = threading.Event()
    bill(lambda _: seen.set())
    with working(timing=Timing(block=100)) as worker:
        wait_until(lambda: "cmd=xread " in raw.execute_command("CLIENT", "LIST", "TYPE", "normal"))
        publish(raw, 1)
        assert seen.wait(20)
        wait_until(lambda: not len(worker.runner.unacked))


def test_a_worker_that_a_limit_holds_back_sees_that_its_group_is_paused(limits: Declare, raw: Raw) -> None:
    """Long before the limit leaves room: nothing wakes it from that wait, so it is short."""
    limits(RATE="1/m")
    bill(lambda _: None)
    publish(raw, 2)
    with working(timing=Timing(block=100)) as worker:
        wait_until(lambda: worker.consumer._reader.held_back and worker.consumer._reader.held_back.wait_ms > 40_000)
        groups.pause("orders", "billing", by="ann")
        wait_until(lambda: worker.consumer._paused)


def test_a_limited_group_can_be_drained(limits: Declare, raw: Raw) -> None:
    """To be held back is not to have nothing left."""
    limits(RATE="200/s", GROUP_CONCURRENCY=1)
    bill(lambda _: None)
    publish(raw, 60)
    drain()
    assert books(raw).acknowledged == 60


# ---------------------------------------------------------------- at the same time


def test_no_more_run_at_once_than_there_are_slots(limits: Declare, raw: Raw) -> None:
    """Over all workers; the others wait in the stream, not in a worker."""
    limits(GROUP_CONCURRENCY=2)
    running = Running()
    publish(raw, 20)
    with workers(5):
        wait_until(lambda: running.now == 2)
        assert len(slots(raw)) == books(raw).pending == 2
        running.let.set()
        wait_until(lambda: totals(raw).get("acknowledged") == 20)
    assert running.most == 2
    assert slots(raw) == []


def test_a_long_run_keeps_its_slot(limits: Declare, raw: Raw) -> None:
    """The heartbeat renews its lease: nobody begins another in its place, however long it takes."""
    limits(GROUP_CONCURRENCY=1, CLAIM_IDLE=3)
    running = Running()
    publish(raw, 2)
    with workers(2):
        wait_until(lambda: running.now == 1)
        first = raw.zrange(SLOTS, 0, -1, withscores=True)
        wait_until(lambda: raw.zrange(SLOTS, 0, -1, withscores=True)[0][1] > first[0][1] + 3_000)
        assert running.most == 1
        running.let.set()
        wait_until(lambda: totals(raw).get("acknowledged") == 2)
    assert running.most == 1


@pytest.mark.parametrize(
    "outcome",
    [Ack(), Ack(skipped=True), REPEATED, RetryLater(60, states.FAILURE), DeadLetter(Reason.REJECTED, states.FAILURE)],
    ids=["acknowledged", "skipped", "repeated", "retried", "buried"],
)
def test_settling_frees_the_slot(limits: Declare, raw: Raw, outcome: Outcome) -> None:
    """In the same step, whatever became of the message."""
    limits(GROUP_CONCURRENCY=3)
    publish(raw, 1)
    deliveries = deliver()
    assert slots(raw) == [each.token for each in deliveries]
    settle(deliveries, outcome)
    assert slots(raw) == []


def test_handing_back_frees_the_slot_and_claiming_takes_it(limits: Declare, raw: Raw) -> None:
    """What nobody runs holds up nobody."""
    limits(GROUP_CONCURRENCY=3)
    publish(raw, 1)
    place, link = deliver_past_limits(raw, 1)
    hand_back(link, place)
    assert slots(raw) == []
    assert len(claim(link, place, 10, idle_until=0).deliveries) == 1
    assert len(slots(raw)) == 1


def test_a_claim_takes_over_the_lease_of_its_entry(limits: Declare, raw: Raw) -> None:
    """Where all slots are taken, what holds one may be claimed, and nothing else."""
    limits(GROUP_CONCURRENCY=2, CLAIM_IDLE=0.05)
    publish(raw, 3)
    place, link = deliver_past_limits(raw, 3)
    wait_until(lambda: len(raw.xpending_range("orders", "billing", "-", "+", 3, idle=50)) == 3)
    held = [each["message_id"] for each in raw.xpending_range("orders", "billing", "-", "+", 3)][1:]
    raw.zadd(SLOTS, {f"orders/{each}": 2e12 for each in held})
    other = type(place)(place.stream, place.group, "other")
    assert [each.entry_id for each in claim(link, other, 10, idle_until=inf).deliveries] == held


@pytest.mark.slow
def test_workers_that_are_killed_with_all_slots_stop_nobody_for_longer_than_claim_idle(
    server: Server, raw: Raw, tmp_path: Path
) -> None:
    """Their leases end, unless a rescuer of theirs has freed them before."""
    settings = {"orders": {"GROUPS": {"billing": {"GROUP_CONCURRENCY": 5, "CLAIM_IDLE": 1}}}}
    raw.flushall()
    fleet = Fleet(tmp_path, server.url, settings)
    go = tmp_path / "go"
    try:
        states.publish(raw, *({"do": f"wait:{go}"} for _ in range(5)), *({"do": "nothing"} for _ in range(20)))
        held = fleet.start("--threads", "5")
        wait_until(lambda: len(fleet.noted("began")) == 5)
        for pid in [held.pid, *fleet.children(held)]:
            os.kill(pid, signal.SIGKILL)
        go.touch()
        fleet.drain("--threads", "5")
    finally:
        fleet.end()
    assert books(raw)[:6] == (25, 0, 0, 0, 0, 0)
    assert slots(raw) == []
