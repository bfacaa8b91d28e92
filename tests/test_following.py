"""`follow()` and `afollow()`: a stream without a group, from anywhere, over lost connections."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest

from django_redis_streams import Message, afollow, follow, following, publish, publish_many
from django_redis_streams.exceptions import ServerUnreachable, UnknownStream

from .support.servers import Server
from .support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("streams")

Raw = Any


def numbers(messages: Iterator[Message]) -> list[int]:
    """The payloads."""
    return [message.payload for message in messages]


def following_reads(raw: Raw) -> int:
    """How often the server was asked what follows."""
    return int(raw.info("commandstats").get("cmdstat_xread", {"calls": 0})["calls"])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection is made again at once."""
    monkeypatch.setattr(following, "_BACKOFF", (0.01, 0.05))


# ---------------------------------------------------------------- from where


def test_all_that_is_there_is_read_in_order() -> None:
    """However many reads that takes; with `block=0` it ends there."""
    publish_many("orders", range(1001))
    assert numbers(follow("orders", after="0", block=0)) == list(range(1001))
    assert numbers(follow("orders", after="0", block=0, count=7)) == list(range(1001))


def test_what_comes_from_the_call_on_is_read() -> None:
    """Also what comes before the first message is asked for."""
    publish("orders", 1)
    messages = follow("orders")
    publish("orders", 2)
    publish("orders", 3)
    with closing(messages):
        assert numbers(islice(messages, 2)) == [2, 3]


def test_what_is_new_of_a_stream_that_is_not_there_yet_is_all() -> None:
    """Nothing is made by looking."""
    messages = follow("orders", block=0)
    publish("orders", 1)
    assert numbers(messages) == [1]


def test_reading_goes_on_after_an_entry() -> None:
    """By the id of the last message that is known, exactly."""
    publish_many("orders", range(10))
    with closing(follow("orders", after="0")) as messages:
        last = list(islice(messages, 4))[-1]
    assert numbers(follow("orders", after=last.entry_id, block=0)) == list(range(4, 10))


def test_it_waits_for_what_comes() -> None:
    """It blocks on the server, and takes what comes at once."""
    messages = follow("orders", block=30)
    threading.Timer(0.05, publish, ("orders", 1)).start()
    assert next(messages).payload == 1
    messages.close()


@pytest.mark.parametrize("block", [0, 0.05, timedelta(seconds=0.05)])
def test_it_ends_when_nothing_came_for_so_long(block: Any) -> None:
    """Seconds or a timedelta, counted anew from each message on."""
    assert list(follow("orders", after="0", block=block)) == []


def test_what_is_read_is_a_message() -> None:
    """With all that was published, and where it stands; of no group."""
    sent = publish("orders", {"n": 1}, type="order.created", key="k", headers={"a": "b"})
    (message,) = follow("orders", after="0", block=0)
    assert (message.id, message.stream, message.type, message.payload) == (sent.id, "orders", "order.created", {"n": 1})
    assert (message.key, dict(message.headers), message.group, message.lane) == ("k", {"a": "b"}, "", "default")


def test_foreign_and_broken_entries_are_read_as_their_fields(raw: Raw) -> None:
    """Nothing that arrives ends it."""
    foreign = raw.xadd("orders", {"n": "1", "type": "ping"})
    raw.xadd("orders", {"id": "018f3f3e-0000-7000-8000-000000000000", "data": "{broken"})
    raw.xadd("orders", {"n": b"\xff"})
    first, second, third = follow("orders", after="0", block=0)
    assert (first.id, first.type, first.payload) == (f"orders/{foreign}", "ping", {"n": "1", "type": "ping"})
    assert second.payload["data"] == "{broken"
    assert third.payload == {"n": "\ufffd"}


def test_groups_notice_nothing(raw: Raw) -> None:
    """What is read stays unread for them, and nothing is written."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    publish("orders", 1)
    assert numbers(follow("orders", after="0", block=0)) == [1]
    (group,) = raw.xinfo_groups("orders")
    assert (group["last-delivered-id"], group["pending"], raw.keys()) == ("0-0", 0, ["orders"])


def test_lanes_are_read_together_or_one(streams: Callable[..., None]) -> None:
    """Each message says its lane."""
    streams({"tasks": {"LANES": ["high", "default"], "GROUPS": {"workers": {}}}})
    for n, lane in enumerate(["default", "high", "default"]):
        publish("tasks", n, lane=lane)
    assert [(each.lane, each.payload) for each in follow("tasks", after="0", block=0)] == [
        ("high", 1), ("default", 0), ("default", 2),
    ]  # fmt: skip
    assert numbers(follow("tasks", after="0", lane="default", block=0)) == [0, 2]


# ---------------------------------------------------------------- connections


@pytest.mark.usefixtures("hasty")
def test_a_lost_reply_leaves_no_gap_and_nothing_twice(
    proxy: Any, streams: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """It connects again, reads on after the last message, and tells both."""
    caplog.set_level("INFO")
    streams(URL=proxy.url)
    publish_many("orders", range(50))
    got = []
    for message in follow("orders", after="0", block=5, count=5):
        got.append(message.payload)
        if message.payload in (7, 20, 33):
            proxy.lose_reply_to("EVALSHA")
        if len(got) == 50:
            break
    assert got == list(range(50))
    assert caplog.text.count("Reading goes on as soon as it is back") == 3
    assert caplog.text.count("is back: reading goes on") == 3


@pytest.mark.usefixtures("hasty")
def test_it_survives_a_restart_of_the_server(make_server: Callable[..., Server], streams: Callable[..., None]) -> None:
    """While it waits; what comes after the restart follows what came before."""
    server = make_server(appendonly="yes", appendfsync="always")
    streams(URL=server.url)
    publish("orders", 1)
    got: list[int] = []

    def reader() -> None:
        got.extend(numbers(islice(follow("orders", after="0", block=30), 2)))

    thread = threading.Thread(target=reader)
    thread.start()
    wait_until(lambda: following_reads(server.raw()) >= 2, "it waits for the second")
    server.kill9()
    server.start()
    server.raw().xadd("orders", {"data": "2"})
    thread.join(30)
    assert got == [1, 2]


def test_a_server_that_is_away_is_an_error_at_the_call(streams: Callable[..., None]) -> None:
    """Nobody waits in vain for an address that is wrong."""
    streams(URL="unix:///nowhere/at.all")
    for after in ("0", "$"):
        with pytest.raises(ServerUnreachable, match="/nowhere/at"):
            follow("orders", after=after)


@pytest.mark.usefixtures("hasty")
def test_with_block_a_server_that_stays_away_is_an_error(
    make_server: Callable[..., Server], streams: Callable[..., None]
) -> None:
    """Not the end, which would say that there is nothing more."""
    server = make_server()
    streams(URL=server.url)
    messages = follow("orders", after="0", block=0.2)
    server.kill9()
    with pytest.raises(ServerUnreachable):
        next(messages)


def test_what_the_server_refuses_is_an_error(raw: Raw) -> None:
    """A key of another type stays one, however often it is read."""
    messages = follow("orders", after="0")
    raw.set("orders", "text")
    with pytest.raises(Exception, match="WRONGTYPE"):
        next(messages)


def clients(raw: Raw) -> set[str]:
    """The connections that the server has, by their ids."""
    return {each["id"] for each in raw.client_list()}


def test_the_connection_ends_with_the_reading(raw: Raw) -> None:
    """Whoever stops reading leaves nothing behind."""
    publish_many("orders", range(3))
    before = clients(raw)
    for _ in follow("orders", after="0"):
        assert clients(raw) - before
        break
    wait_until(lambda: clients(raw) <= before)


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"after": "yesterday"}, "after='yesterday': expected '0', '\\$' or an entry id"),
        ({"after": 5}, "after=5: expected"),
        ({"count": 0}, "count=0: expected a whole number, 1 or more"),
        ({"count": True}, "count=True: expected"),
        ({"block": -1}, "block=-1: expected seconds, 0 or more"),
        ({"block": "1"}, "block='1': expected"),
        ({"block": float("nan")}, "block=nan: expected"),
        ({"lane": "hihg"}, "lane='hihg': expected one of the LANES of stream 'orders'"),
    ],
)
def test_arguments_that_can_not_be_are_errors_at_the_call(arguments: Any, says: str) -> None:
    """Not when the first message is asked for."""
    with pytest.raises(ValueError, match=says):
        follow("orders", **arguments)


def test_a_stream_that_is_not_declared_is_an_error_at_the_call() -> None:
    """With the nearest name."""
    with pytest.raises(UnknownStream, match="Did you mean 'orders'"):
        follow("ordrs")


# ---------------------------------------------------------------- coroutines


def threads() -> list[threading.Thread]:
    """Those that ask a server for a coroutine."""
    return [each for each in threading.enumerate() if each.name.startswith("afollow")]


def test_a_coroutine_follows_while_its_loop_goes_on(raw: Raw) -> None:
    """It gets what comes, while another coroutine of its loop publishes it; its thread and its connection end."""
    publish("orders", 0)
    before = clients(raw)

    async def follower() -> list[int]:
        got = []
        async for message in afollow("orders", after="0", block=30):
            got.append(message.payload)
            publish("orders", len(got))
            if len(got) == 3:
                break
        return got

    async def both() -> list[int]:
        task = asyncio.create_task(follower())
        ticks = 0
        while not task.done():
            await asyncio.sleep(0)
            ticks += 1
        assert ticks > 1
        return await task

    assert asyncio.run(both()) == [0, 1, 2]
    wait_until(lambda: not threads() and clients(raw) <= before, "nothing is left behind")


def test_a_coroutine_that_is_cancelled_leaves_nothing_behind(raw: Raw) -> None:
    """Though it would wait for ever for a message, its thread ends."""

    async def cancelled() -> None:
        task = asyncio.create_task(anext(afollow("orders")))
        await asyncio.to_thread(wait_until, lambda: following_reads(raw) > 0, "it waits for a message")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    wait_until(lambda: not threads(), "the thread has ended")


@pytest.mark.usefixtures("hasty")
def test_a_coroutine_stops_waiting_for_a_server_that_is_away(
    make_server: Callable[..., Server], streams: Callable[..., None]
) -> None:
    """Cancelled while its thread tries again and again, that thread ends too."""
    server = make_server()
    streams(URL=server.url)

    async def cancelled() -> None:
        task = asyncio.create_task(anext(afollow("orders", after="0")))
        await asyncio.to_thread(wait_until, lambda: following_reads(server.raw()) > 0, "it waits for a message")
        server.kill9()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    wait_until(lambda: not threads(), "the thread has ended")


def test_a_coroutine_gets_the_errors_with_the_first_message() -> None:
    """Those that `follow` raises at the call; and it ends as that does."""

    async def messages(stream: str, **arguments: Any) -> list[Message]:
        return [message async for message in afollow(stream, **arguments)]

    with pytest.raises(UnknownStream, match="Did you mean 'orders'"):
        asyncio.run(messages("ordrs"))
    with pytest.raises(ValueError, match="block=-1: expected seconds"):
        asyncio.run(messages("orders", block=-1))
    assert asyncio.run(messages("orders", block=0)) == []
    wait_until(lambda: not threads(), "its threads have ended")
