"""Workers that sleep: what wakes them, and what they find by themselves."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from django_redis_streams import Message, Retry, conf, connections, publish
from django_redis_streams.handlers import handler
from django_redis_streams.operations import groups
from django_redis_streams.store.consume.clock import server_time
from django_redis_streams.worker.services.listener import Listener
from django_redis_streams.worker.services.promoter import Promoter
from django_redis_streams.worker.timing import Timing

from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import Worker, waiting_reads, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
NOTICES, LEASE, DELAYED, CLOCK = "{orders}:notices", "{orders}:promoter", "{orders}:delayed", "{orders}:clock"
# By itself it would look far too late for any of these tests. It looks at multiples of this time: one mustn't be near.
ASLEEP = Timing(look_at_rest=600_000)


SLEEPERS = (Promoter, Listener)


def rests(worker: Worker) -> bool:
    """Whether the promoter has seen that nothing waits, and the listener hears what comes."""
    promoter, listener = (next(each for each in worker.services if isinstance(each, kind)) for kind in SLEEPERS)
    return bool(promoter._look_at["orders"] > time.monotonic() + 60 and not promoter._heard and listener.waits_since)


@pytest.mark.parametrize("what", ["a delayed message", "a retry"])
def test_what_is_due_sooner_than_anybody_looks_is_moved_in_time(what: str) -> None:
    """A sleeping worker is told of it. Due is due: it comes about a tenth of a second later at most, as ever."""
    late: list[float] = []

    @handler("orders", group="billing")
    def handle(message: Message) -> None:
        if what == "a retry" and message.attempt == 1:
            late.append(time.monotonic() + 0.5)
            raise Retry("again", delay=0.5)
        late.append(time.monotonic())

    with working(timing=ASLEEP) as worker:
        wait_until(lambda: rests(worker))
        if what == "a retry":
            publish("orders", 1)
        else:
            late.append(time.monotonic() + 0.5)
            publish("orders", 1, delay=0.5)
        wait_until(lambda: len(late) == 2)
        assert late[0] <= late[1]
        wait_until(lambda: rests(worker), "it goes to sleep again")


def test_what_was_added_without_a_notice_is_found_later(raw: Raw) -> None:
    """By a look now and then; another client may have put it there."""
    with working(timing=Timing(look_at_rest=0.2)):
        handler("orders", group="billing")(lambda _: None)
        wait_until(lambda: raw.hexists(CLOCK, "seen"))
        raw.zadd(DELAYED, {"foreign": 1})
        wait_until(lambda: not raw.exists(DELAYED))


def test_who_stops_leaves_what_waits_to_the_others(raw: Raw) -> None:
    """They move it when it is due, though its lease would last for longer."""
    handled: list[Any] = []
    handler("orders", group="billing")(lambda message: handled.append(message.payload))
    with working(name="first") as first:
        wait_until(lambda: raw.hexists(CLOCK, "seen"))
        publish("orders", 1, delay=600)
        wait_until(lambda: raw.exists(LEASE))
        (holder, _, _) = raw.get(LEASE).partition(" ")
        with working(name="second"):
            first.end()
            wait_until(lambda: raw.exists(LEASE) and not raw.get(LEASE).startswith(holder), deadline=5)


def test_a_pause_ends_a_read_that_waits(raw: Raw) -> None:
    """What is published after the pause was seen isn't read."""
    handled: list[Any] = []
    handler("orders", group="billing")(lambda message: handled.append(message.payload))
    with working(timing=Timing(block=60)) as worker:
        wait_until(lambda: rests(worker) or worker.runner.connection.waits_since)
        publish("orders", 1)
        wait_until(lambda: handled == [1] and not raw.xpending("orders", "billing")["pending"])
        groups.pause("orders", "billing", by="a test")
        wait_until(lambda: worker.consumer._paused)
        publish("orders", 2)
        groups.resume("orders", "billing", by="a test")
        wait_until(lambda: handled == [1, 2])


@pytest.mark.parametrize("wrong", ["from the beginning", "later"])
def test_notices_that_cannot_be_read_keep_nothing_from_being_moved(
    raw: Raw, streams: Callable[..., None], caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    """That is told, and the notices of other streams are heard. When it is mended, all is as ever."""
    streams({"orders": {"GROUPS": {"billing": {}}}, "mails": {"GROUPS": {"senders": {}}}})
    handled: list[str] = []
    heard: list[str] = []
    handler("orders", group="billing")(lambda message: handled.append(message.payload))
    if wrong == "from the beginning":
        raw.set(NOTICES, "of a wrong type")
    worker = Worker(timing=Timing(listen=0.5, look_at_rest=0.5, backoff_factor=0.1))
    listener = next(each for each in worker.services if isinstance(each, Listener))
    listener._streams = {f"{{{each}}}:notices": each for each in ("orders", "mails")}
    listener._hear_due = heard.append
    worker.start()
    try:
        with caplog.at_level(logging.ERROR):
            wait_until(lambda: "mails" in heard)
            if wrong == "later":
                raw.set(NOTICES, "of a wrong type")
                publish("mails", 1, delay=600)
            wait_until(lambda: "Listener on connection 'default' failed" in caplog.text and "WRONGTYPE" in caplog.text)
        # Its next step begins anew, and looks at the streams that it can hear.
        wait_until(lambda: "{mails}:notices" in listener._after and listener.waits_since)
        heard.clear()
        publish("mails", 1, delay=300)
        wait_until(lambda: heard == ["mails"])
        publish("orders", "moved", delay=0.1)
        wait_until(lambda: handled == ["moved"])
        raw.delete(NOTICES)
        publish("orders", "mended", delay=0.1)
        wait_until(lambda: "orders" in heard)
    finally:
        worker.end()


def test_what_another_client_writes_there_is_passed_over(raw: Raw) -> None:
    """And what follows is heard."""
    handled: list[Any] = []
    handler("orders", group="billing")(lambda message: handled.append(message.payload))
    with working(timing=ASLEEP) as worker:
        wait_until(lambda: rests(worker))
        raw.xadd(NOTICES, {"paused": "nosuchgroup", "due": "no"})
        raw.xadd(NOTICES, {"nonsense": ""})
        publish("orders", 1, delay=0)
        wait_until(lambda: handled == [1])


def test_a_clock_that_goes_back_while_nothing_waits_is_found(
    make_server: Callable[..., Server], streams: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Messages in the hands of dead workers would be claimed later otherwise."""
    server = make_server(own_clock=True)
    streams({"orders": {"GROUPS": {"billing": {}}}}, URL=server.url)
    stream = conf.stream("orders")
    promoter = Promoter("default", threading.Event(), [stream], Timing(look_at_rest=0.05, see_clock=3_600))
    wait_until(lambda: promoter.guarded_step() and not promoter._held and promoter._seen)
    shown = server_time(connections.get())
    server.set_clock(-600)
    wait_until(lambda: server_time(connections.get()) < shown - 500_000)
    with caplog.at_level(logging.WARNING):
        wait_until(lambda: promoter.guarded_step() and "orders: the server's clock went back by" in caplog.text)


def test_a_pause_that_nobody_heard_of_is_seen_after_the_next_connecting(raw: Raw) -> None:
    """The listener lost its connection just then. Consumers look when it is back, not only at their reads' ends."""
    with working(timing=Timing(block=60)) as worker:
        listener = next(each for each in worker.services if isinstance(each, Listener))
        wait_until(lambda: waiting_reads(raw) == 1 and listener.waits_since)
        raw.hset("{orders}:groups", "billing:paused", "1")
        listener.cut()
        wait_until(lambda: worker.consumer._paused)
