"""A consumer that waits for messages in one long read: what ends it, and what doesn't wait for its end."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from django_redis_streams import connections
from django_redis_streams.connections import OpenLink
from django_redis_streams.operations import groups
from django_redis_streams.store.consume import connection as store
from django_redis_streams.store.consume.connection import begin_session
from django_redis_streams.store.consume.delivery import Delivery
from django_redis_streams.worker.consumer.waking import Waking
from django_redis_streams.worker.services.promoter import Promoter
from django_redis_streams.worker.timing import DEFAULT_TIMING, Timing

from .support.books import totals
from .support.servers import Server
from .support.waiting import undisturbed, wait_until
from .support.workers import Fleet, Worker, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
# A read, and the question whether the group is paused.
WITHOUT_OUTCOMES = 2
# Longer than any test waits for anything; and without a second look after the connect, which would end the first read.
LONG = Timing(block=100, look_again=0)


@pytest.fixture
def refused(server: Server, streams: Callable[..., None]) -> str:
    """The worker's user may not use CLIENT; return its URL."""
    url = server.user("worker", "secret", "+@all", "~*", "&*", "-client")
    streams(URL=url)
    return url


def blocked(raw: Raw) -> list[Any]:
    """The clients that wait for messages."""
    return [each for each in raw.client_list() if each["cmd"] == "xreadgroup" and "b" in each["flags"]]


def reads(raw: Raw) -> int:
    """How often the server was asked to read."""
    return int(raw.info("commandstats").get("cmdstat_xreadgroup", {"calls": 0})["calls"])


def pause_silently(raw: Raw) -> None:
    """Pause billing without the notice that would wake its workers."""
    raw.hset("{orders}:groups", "billing:paused", "5")


def wake(worker: Worker) -> None:
    """Wake a worker, as whatever wakes it does."""
    worker.runner.connection.wake(connections.get())


# ---------------------------------------------------------------- how long a read blocks


def test_whether_a_read_can_be_woken_is_asked_at_the_connect(raw: Raw, server: Server, streams: Any) -> None:
    """It may be where its user may send CLIENT UNBLOCK, and knows its own id."""
    for rules, wakeable in (
        ((), True),
        (("-client",), False),
        (("-client", "+client|id"), False),
        (("-client", "+client|unblock"), False),
        (("-client", "+client|id", "+client|unblock"), True),
    ):
        streams(URL=server.user("worker", "secret", "+@all", "~*", "&*", *rules))
        link = connections.open(timeout=5)
        assert begin_session(link, None).wakeable is wakeable, rules
        link.close()


def test_an_idle_worker_reads_no_more_often_than_it_blocks(raw: Raw, seen: list[str]) -> None:
    """While it waits for messages, its services go on and its consumer sends nothing."""
    with working(timing=replace(LONG, quiet_idle=0.0)):
        wait_until(lambda: blocked(raw))
        before, asked = reads(raw), raw.info("commandstats")["cmdstat_ping"]["calls"]
        wait_until(lambda: raw.info("commandstats")["cmdstat_ping"]["calls"] > asked + 50, "the heartbeat goes on")
        assert reads(raw) == before
        raw.xadd("orders", {"n": 1})
        wait_until(lambda: seen == ["1"])


def test_a_read_that_nobody_may_wake_is_short(raw: Raw, refused: str, seen: list[str]) -> None:
    """It ends by itself, again and again, and so all that waits for its end is as soon as ever."""
    with working(timing=replace(LONG, unwoken=0.05)):
        wait_until(lambda: blocked(raw))
        before = reads(raw)
        wait_until(lambda: reads(raw) > before + 5, "it reads, in vain")
    assert DEFAULT_TIMING.unwoken <= 1


def test_a_worker_that_nobody_may_wake_stops_soon(raw: Raw, refused: str, fleet: Fleet) -> None:
    """At the end of its short read, and as cleanly as others: it hands its consumer's name back."""
    fleet.url = refused
    worker = fleet.start(TEST_BLOCK="100")
    wait_until(lambda: blocked(raw))
    os.killpg(worker.pid, signal.SIGTERM)
    fleet.finish(worker, deadline=10)
    assert {each["name"] for each in raw.xinfo_consumers("orders", "billing")} <= {"returned"}


def test_a_new_connection_is_well_before_its_first_wait_is_over(raw: Raw, seen: list[str]) -> None:
    """At the start, and when a lost connection was made again: probes and the log go by that."""
    with working(timing=LONG) as worker:
        wait_until(lambda: worker.runner.counters.well)
        (reader,) = wait_until(lambda: blocked(raw))
        worker.runner.counters.turned(well=False)
        raw.client_kill_filter(_id=reader["id"])
        wait_until(lambda: worker.runner.counters.well)


# ---------------------------------------------------------------- waking


def test_a_woken_worker_sees_at_once_that_its_group_is_paused(raw: Raw, seen: list[str]) -> None:
    """What is published then waits, instead of being delivered to the read that blocks."""
    with working(timing=LONG) as worker:
        wait_until(lambda: blocked(raw))
        pause_silently(raw)
        wake(worker)
        wait_until(lambda: worker.consumer._paused)
        raw.xadd("orders", {"n": 1})
        wait_until(lambda: not blocked(raw))
        assert seen == []
        groups.resume("orders", "billing", by="ann")
        wait_until(lambda: seen == ["1"])


def test_a_read_that_is_on_its_way_is_woken(raw: Raw, seen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wakes it before it blocks on the server tries again, until it does."""
    tried, send, unblock = threading.Event(), OpenLink.send, store.unblock

    def send_late(link: OpenLink, commands: Any) -> None:
        if held.is_set() and len(commands) == WITHOUT_OUTCOMES and "BLOCK" in commands[0]:
            held.clear()
            holds.set()
            assert tried.wait(20)
        send(link, commands)

    def note(link: Any, client_id: int) -> bool:
        ended = unblock(link, client_id)
        tried.set()
        return ended

    held, holds = threading.Event(), threading.Event()
    monkeypatch.setattr(OpenLink, "send", send_late)
    monkeypatch.setattr("django_redis_streams.worker.consumer.waking.unblock", note)
    with working(timing=LONG) as worker:
        wait_until(lambda: blocked(raw))
        held.set()
        raw.xadd("orders", {"n": 1})
        assert holds.wait(20)
        pause_silently(raw)
        wake(worker)
        wait_until(lambda: worker.consumer._paused)


def test_a_worker_that_is_woken_between_two_reads_does_not_block() -> None:
    """Once: whatever it was woken for is seen behind that read, or before the next."""
    waking = Waking()
    waking.wake(connections.get())
    assert [waking.begin() for _ in range(3)] == [False, True, True]
    waking.end()
    waking.mark()
    assert [waking.begin() for _ in range(2)] == [False, True]


# ---------------------------------------------------------------- what doesn't wait for the end of a read


def test_a_refused_outcome_is_tried_again_though_nothing_comes(
    raw: Raw, seen: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """When that is due, and not when the read would be over."""
    with working(timing=replace(LONG, backoff_factor=0.1)):
        wait_until(lambda: blocked(raw))
        raw.set("{orders}:totals:billing", "of a wrong type")
        raw.xadd("orders", {"n": 1})
        wait_until(lambda: caplog.text.count("couldn't settle") > 2, "the server refuses to settle it, again and again")
        raw.delete("{orders}:totals:billing")
        wait_until(lambda: totals(raw) == {"acknowledged": 1})


def test_a_silent_server_is_noticed_while_a_read_blocks(
    make_server: Callable[..., Server], streams: Any, seen: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The heartbeat asks for an answer, and lets the read that can't end by itself end as lost."""
    own = make_server()
    streams(URL=own.url, OPTIONS={"socket_connect_timeout": 0.2})
    timing = replace(LONG, quiet_idle=0.2, answer=0.2, service_timeout=0.2, backoff_factor=0.1)
    with working(timing=timing) as worker:
        wait_until(lambda: blocked(own.raw()))
        own.pause()
        wait_until(lambda: not worker.runner.counters.well)
        assert "can't be reached" in caplog.text
        own.cont()
        wait_until(lambda: worker.runner.counters.well)
        own.raw().xadd("orders", {"n": 1})
        wait_until(lambda: seen == ["1"])


def test_a_silent_server_is_noticed_as_soon_as_by_a_read_that_nobody_may_wake() -> None:
    """That read waits for so long before its reply is late. Where nothing is in hand, its fifteen seconds will do."""
    assert DEFAULT_TIMING.quiet + DEFAULT_TIMING.answer <= DEFAULT_TIMING.unwoken + DEFAULT_TIMING.reply_timeout
    assert DEFAULT_TIMING.quiet_idle + DEFAULT_TIMING.answer <= DEFAULT_TIMING.block


def test_a_quiet_server_is_asked_sooner_while_something_is_in_hand(
    raw: Raw, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle worker's services mostly ask it something before the heartbeat would."""
    asked: list[float] = []
    monkeypatch.setattr(OpenLink, "ask", lambda _, seconds: asked.append(seconds))
    worker = Worker(timing=replace(LONG, quiet=0.0, quiet_idle=600))
    heartbeat, presence = worker.services[0], worker.services[1]
    presence.guarded_step()
    heartbeat.guarded_step()
    assert not asked
    worker.runner.unacked.taken.anything = True
    heartbeat.guarded_step()
    assert asked == [LONG.answer]


def test_the_heartbeat_sleeps_until_something_is_taken(raw: Raw, seen: list[str]) -> None:
    """Then it looks each 50 ms for outcomes that wait; at first after as long, as nothing has waited yet."""
    worker = Worker(timing=LONG)
    heartbeat, presence = worker.services[0], worker.services[2]
    presence.guarded_step()
    assert heartbeat.guarded_step() == pytest.approx(LONG.quiet_idle, abs=1)
    steps: list[float] = []
    heartbeat.step = lambda _: steps.append(time.monotonic())  # type: ignore[method-assign]  it notes when
    thread = threading.Thread(target=heartbeat.run, daemon=True)
    thread.start()
    began = time.monotonic()
    worker.runner.unacked.take([Delivery()], began)
    wait_until(lambda: len(steps) > 3, deadline=3)
    assert steps[0] - began >= LONG.flush
    worker.services_stop.set()
    heartbeat.end_wait()
    thread.join(5)
    assert not thread.is_alive()


def test_a_service_that_sleeps_ends_at_once(raw: Raw, seen: list[str]) -> None:
    """A process that stops doesn't wait until its next step is due."""
    worker = Worker(timing=replace(LONG, serve=600))
    presence = worker.services[2]
    thread = threading.Thread(target=presence.run, daemon=True)
    thread.start()
    wait_until(lambda: raw.keys("{orders}:alive:*"))
    worker.services_stop.set()
    presence.end_wait()
    thread.join(10)
    assert not thread.is_alive()


def test_a_server_that_answers_services_is_not_asked_by_the_heartbeat(
    raw: Raw, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none of them has asked for long, it is."""
    asked = threading.Event()
    ask = OpenLink.ask

    def note(link: OpenLink, seconds: float) -> None:
        asked.set()
        ask(link, seconds)

    monkeypatch.setattr(OpenLink, "ask", note)
    worker = Worker(timing=replace(LONG, quiet_idle=1.0))
    heartbeat, promoter = worker.services[0], worker.services[3]
    assert isinstance(promoter, Promoter)

    def asks() -> bool:
        asked.clear()
        for _ in range(3):
            promoter.guarded_step()
            heartbeat.guarded_step()
        return asked.is_set()

    assert not undisturbed(asks, 1.0)
    wait_until(lambda: heartbeat.guarded_step() and asked.is_set())
