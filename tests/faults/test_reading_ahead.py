"""Faults while a batch is read ahead: it is asked for while the one before it is being run."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import ResponseError

from django_redis_streams import conf, connections
from django_redis_streams.connections import OpenLink
from django_redis_streams.exceptions import Reject
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.worker.consumer import batch_size
from django_redis_streams.worker.consumer.reader import Reader

from ..support.books import totals
from ..support.proxies import Proxy
from ..support.waiting import wait_until
from ..support.workers import HASTY, Worker, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams", "hasty")

Raw = Any
COUNT = 2_000
# Batches are as long as BATCH_SIZE allows, however slow the machine is.
LONG_BATCHES = replace(HASTY, batch=10.0)


def publish(raw: Raw, count: int = COUNT, **fields: str) -> None:
    """Publish so many at once that reading ahead begins."""
    pipeline = raw.pipeline()
    for n in range(count):
        pipeline.xadd("orders", {"n": n, **fields})
    pipeline.execute()


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[OpenLink], None]], list[int]]:
    """Return a function that has its argument called once, when a batch is asked for ahead.

    Its result is a list, which is empty until that call.
    """
    done: list[int] = []

    def when_ahead(do: Callable[[OpenLink], None]) -> list[int]:
        ask = Reader.ask

        def asked(self: Reader, link: OpenLink, commands: Any, *rest: Any) -> None:
            if rest[1] is None and not done:
                done.append(1)
                do(link)
            ask(self, link, commands, *rest)

        monkeypatch.setattr(Reader, "ask", asked)
        return done

    return when_ahead


def test_a_connection_that_is_lost_between_two_batches_loses_neither(raw: Raw, ahead: Any) -> None:
    """The batch that was read is run, though the next couldn't be asked for."""
    runs: Counter[str] = Counter()
    handler("orders", group="billing")(lambda message: runs.update([message.payload["n"]]))
    publish(raw)
    lost = ahead(OpenLink.close)
    with working():
        wait_until(lambda: totals(raw) == {"acknowledged": COUNT})
    assert lost
    assert set(runs.values()) == {1}


def dawdle() -> None:
    """Take so long that outcomes are settled without a read."""
    time.sleep(0.06)


def test_a_read_ahead_that_is_refused_leaves_nothing_behind(raw: Raw, ahead: Any) -> None:
    """Messages handled before are settled, though their outcomes were to follow the refused read."""
    redelivery, aside = "{orders}:redelivery:billing", "{orders}:aside"
    refused = ahead(lambda _: raw.pipeline().rename(redelivery, aside).lpush(redelivery, "x").execute())
    slow = iter(range(3))

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        if refused and next(slow, None) is not None:
            dawdle()
        elif refused and raw.exists(aside):
            raw.rename(aside, redelivery)

    publish(raw)
    worker = Worker(drain=True).start()
    worker.join()
    assert refused
    assert totals(raw) == {"acknowledged": COUNT}
    assert len(worker.runner.unsettled) == len(worker.runner.unacked) == 0


def test_a_worker_whose_refused_outcomes_fill_its_memory_settles_them_when_it_can(raw: Raw, ahead: Any) -> None:
    """Though it had asked for one more batch."""
    broken = ahead(lambda _: raw.lpush("{orders}:dlq", "of a wrong type"))
    slow = iter(range(3))

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        if broken and next(slow, None) is not None:
            dawdle()
            raise Reject("told to")

    publish(raw)
    with working(most_refused=1) as worker:
        wait_until(lambda: worker.runner.unsettled.overfull)
        raw.delete("{orders}:dlq")
        wait_until(lambda: sum(totals(raw).values()) == COUNT)
    assert totals(raw)["dead-lettered"] == 3


def test_what_came_late_behind_a_slow_handler_is_not_run_unasked(raw: Raw, streams: Any, ahead: Any) -> None:
    """Others may have claimed such messages: the heartbeat renews those in hand, not those still to be received."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 2}}}})
    runs: Counter[str] = Counter()
    waiting = ahead(lambda _: None)
    finish = threading.Event()

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        runs[message.payload["n"]] += 1
        if waiting and threading.current_thread().name == "slow":
            finish.wait(20)

    publish(raw)
    with working(name="slow") as slow:
        wait_until(lambda: waiting)
        with working(name="other"):
            # All but those that the slow worker holds: the running message, and those that wait behind it.
            wait_until(lambda: raw.xpending("orders", "billing")["pending"] == len(slow.runner.unacked) > 0)
            finish.set()
            wait_until(lambda: totals(raw) == {"acknowledged": COUNT})
    assert set(runs.values()) == {1}


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[OpenLink], None]], list[int]]:
    """Return a function that has its argument called at the first claim that goes with a read ahead.

    Its result is a list with an item for each such claim.
    """
    monkeypatch.setattr(batch_size, "_FAST", 10.0)  # a busy machine would count as a slow handler
    done: list[int] = []

    def when_claimed(do: Callable[[OpenLink], None]) -> list[int]:
        ask = Reader.ask

        def asked(self: Reader, link: OpenLink, commands: Any, *rest: Any) -> None:
            if rest[2:] and rest[2] is not None:
                done.append(1)
                if len(done) == 1:
                    do(link)
            ask(self, link, commands, *rest)

        monkeypatch.setattr(Reader, "ask", asked)
        return done

    return when_claimed


def leave(raw: Raw, count: int) -> None:
    """Let a consumer read so many messages; it died long ago."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    ((_, entries),) = raw.xreadgroup("billing", "dead", {"orders": ">"}, count=count)
    raw.xclaim("orders", "billing", "dead", 0, [each for each, _ in entries], idle=3_600_000, justid=True)


def nothing(link: OpenLink) -> None:
    """Do nothing."""


@pytest.mark.parametrize("happens", ["nothing", "flush", "close", "refuse", "lose bodies"])
def test_what_others_left_is_claimed_with_reads_ahead(
    raw: Raw, claims: Any, streams: Any, proxy: Proxy, happens: str
) -> None:
    """Each message runs once, even if the claim or its bodies are lost, or it is refused once; most go with a read."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 1}}}}, URL=proxy.url)
    suspects, runs, broken = "{orders}:suspects:billing", Counter[str](), list[int]()
    befalls = {
        "nothing": nothing,
        "flush": lambda _: raw.script_flush(),
        "close": OpenLink.close,
        "lose bodies": lambda _: proxy.lose_reply_to("XRANGE"),
        "refuse": lambda _: broken.append(raw.lpush(suspects, "of a wrong type")),
    }
    went = claims(befalls[happens])

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        runs[message.payload["n"]] += 1
        if broken:  # mended once: a call in each run would make the batches too slow to read ahead
            broken.clear()
            raw.delete(suspects)

    publish(raw)
    leave(raw, COUNT // 2)
    with working(timing=LONG_BATCHES):
        wait_until(lambda: totals(raw) == {"acknowledged": COUNT})
    assert len(went) > 5
    assert set(runs.values()) == {1}
    assert proxy._lose is None


def test_where_nothing_else_waits_whole_batches_are_claimed(raw: Raw, claims: Any, streams: Any) -> None:
    """Claims aren't limited to the half batch that goes with a read."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 1}}}})
    handler("orders", group="billing")(lambda _: None)
    went = claims(nothing)
    publish(raw)
    leave(raw, COUNT)
    with working(timing=LONG_BATCHES):
        wait_until(lambda: totals(raw) == {"acknowledged": COUNT})
    assert 5 < len(went) < 1.5 * COUNT / conf.group("orders", "billing").batch_size


def test_a_claim_that_was_refused_with_a_read_is_tried_by_itself() -> None:
    """There its error is reported. Once a claim succeeds, the next may go with a read again."""
    with working() as worker:
        wait_until(lambda: worker.runner.connection.has_read, "the group is there")
    claiming = Worker().runner.claiming
    claiming.command(10)
    assert not claiming.stale.is_set()
    assert claiming.bodies(error := ResponseError("WRONGTYPE")) == []
    assert claiming.answered(connections.get("default"), error, [], 0.0) == []
    assert claiming.stale.is_set()
    assert not claiming.goes_ahead
    claiming.claim(connections.get("default"), 10)
    assert claiming.goes_ahead
