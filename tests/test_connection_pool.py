"""The connections that a process keeps: how many there are, who gets which, and when they are closed."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

from django_redis_streams import apublish, connections, inspection, publish, publish_many
from django_redis_streams.connections import Link
from django_redis_streams.connections.pool import Pool
from django_redis_streams.exceptions import ServerUnreachable

from .support.servers import Server
from .support.waiting import wait_until

# By it the server's list of clients tells what the pool has connected.
NAME = "pooled"
REQUESTS = 100


def publish_in_view(request: HttpRequest) -> HttpResponse:
    """Publish, as a sync view does."""
    return HttpResponse(publish("orders", {"path": request.path}).id)


async def apublish_in_view(request: HttpRequest) -> HttpResponse:
    """Publish, as an async view does."""
    return HttpResponse((await apublish("orders", {"path": request.path})).id)


urlpatterns = [path("sync", publish_in_view), path("async", apublish_in_view)]


@pytest.fixture
def link(streams: Any) -> Link:
    """The process' link to the server of the run, without a connection yet."""
    streams(OPTIONS={"client_name": NAME})
    return connections.get()


def pooled(server: Server) -> list[str]:
    """The server's numbers for the connections of the pool, the oldest first; its list is in no order."""
    return sorted((each["id"] for each in server.raw().client_list() if each["name"] == NAME), key=int)


def in_thread(work: Callable[[], Any]) -> Any:
    """What `work` returns in a thread of its own, which ends."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(work).result()


def hold(link: Link, count: int) -> list[Iterator[Any]]:
    """Exchanges that have begun and not ended, each of which has a connection of its own."""
    exchanges = [link.call_in_turns([[("CLIENT", "ID")]] * 2) for _ in range(count)]
    for each in exchanges:
        next(each)
    return exchanges


def finish(exchanges: list[Iterator[Any]]) -> None:
    """End them, in their order."""
    for each in exchanges:
        assert len(list(each)) == 1


# How many there are


async def status_of(url: str) -> int:
    """The status of one request to Django's ASGI handler, in threads of its own, as a server would make it."""
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": url, "query_string": b"", "headers": []}
    client = ApplicationCommunicator(ASGIHandler(), scope)
    await client.send_input({"type": "http.request", "body": b""})
    status = (await client.receive_output(timeout=20))["status"]
    await client.receive_output(timeout=20)
    await client.wait(timeout=20)
    return int(status)


@pytest.mark.parametrize("url", ["/sync", "/async"])
def test_requests_under_asgi_share_a_connection(link: Link, server: Server, settings: Any, url: str) -> None:
    """Django gives each request a thread of its own; the connection outlives it."""
    settings.ROOT_URLCONF = __name__

    async def ask() -> list[int]:
        return [await status_of(url) for _ in range(REQUESTS)]

    raw = server.raw()
    before = raw.info("stats")["total_connections_received"]
    assert asyncio.run(ask()) == [200] * REQUESTS
    assert raw.xlen("orders") == REQUESTS
    assert raw.info("stats")["total_connections_received"] - before == 1


@pytest.mark.parametrize("url", ["/sync", "/async"])
def test_requests_at_once_leave_no_more_than_are_kept(link: Link, server: Server, settings: Any, url: str) -> None:
    """As many connections as exchanges at one moment, and afterwards a few."""
    settings.ROOT_URLCONF = __name__

    async def ask() -> list[int]:
        return await asyncio.gather(*(status_of(url) for _ in range(REQUESTS)))

    assert asyncio.run(ask()) == [200] * REQUESTS
    assert server.raw().xlen("orders") == REQUESTS
    wait_until(lambda: 1 <= len(pooled(server)) <= Pool.KEPT)


def test_threads_one_after_another_use_one_connection(link: Link) -> None:
    """A thread that ends leaves its connection to the next, whatever it asked."""
    ask = partial(link.call, "CLIENT", "ID")
    assert {in_thread(ask) for _ in range(20)} == {ask()}
    inspection.overview()
    assert ask() == in_thread(ask)


def test_threads_at_once_get_their_own_replies(link: Link, server: Server) -> None:
    """Fifty threads publish and ask at once: no message is missing, and no reply is another's."""
    together = threading.Barrier(50)

    def work(number: int) -> bool:
        together.wait(30)
        for count in range(20):
            publish("orders", {"from": number})
            if link.call("ECHO", f"{number}-{count}") != f"{number}-{count}":
                return False
        return True

    with ThreadPoolExecutor(50) as threads:
        assert all(threads.map(work, range(50)))
    assert server.raw().xlen("orders") == 1000
    wait_until(lambda: 1 <= len(pooled(server)) <= Pool.KEPT)


def test_idle_connections_beyond_those_kept_are_closed(link: Link, server: Server) -> None:
    """What a moment needed isn't held open for ever; those that were used least lately go."""
    exchanges = hold(link, Pool.KEPT + 5)
    known = pooled(server)
    assert len(known) == Pool.KEPT + 5
    finish(exchanges)
    wait_until(lambda: pooled(server) == known[5:])


def test_connections_that_are_idle_for_long_are_closed(link: Link, server: Server) -> None:
    """They go when another is given back, which stays."""
    finish(hold(link, 3))
    for each in list(link._idle)[:2]:
        each._used -= Pool.IDLE
    newest = link.call("CLIENT", "ID")
    wait_until(lambda: pooled(server) == [str(newest)])


def test_the_one_used_last_is_used_next(link: Link) -> None:
    """So the others become idle, and are closed in time."""
    exchanges = hold(link, 3)
    ((last,),) = list(exchanges[1])
    assert [link.call("CLIENT", "ID") for _ in range(3)] == [last] * 3
    finish([exchanges[0], exchanges[2]])
    assert link.call("CLIENT", "ID") != last


# Who gets which


def test_a_call_within_an_exchange_has_a_connection_of_its_own(link: Link) -> None:
    """As where a receiver or the next batch asks something while replies are awaited."""

    def batches() -> Iterator[list[tuple[str, Any]]]:
        for number in range(3):
            assert connections.get().call("ECHO", f"within {number}") == f"within {number}"
            yield [("ECHO", number)]

    assert list(link.call_in_turns(batches())) == [["0"], ["1"], ["2"]]


def test_an_exchange_that_failed_leaves_its_connection_to_nobody(link: Link, server: Server) -> None:
    """Its replies may still come, so it is closed."""
    before = pooled(server)
    exchange = link.call_in_turns([[("ECHO", "theirs")]] * 2)
    next(exchange)
    (used,) = set(pooled(server)) - set(before)
    exchange.close()  # type: ignore[attr-defined]  a generator
    assert link.call("ECHO", "mine") == "mine"
    wait_until(lambda: used not in pooled(server))


def test_a_child_shares_none_of_several_connections(link: Link, server: Server) -> None:
    """A forked process, of many idle and a lent one, uses none, and the parent goes on with all."""
    idle, lent = hold(link, 3), hold(link, 1)
    finish(idle)
    known = pooled(server)
    pid = os.fork()
    if pid == 0:
        used = {link.call("CLIENT", "ID") for _ in range(3)}
        publish("orders", {})
        os._exit(0 if len(used) == 1 and str(*used) not in known else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert server.raw().xlen("orders") == 1
    finish(lent)
    finish(hold(link, 4))
    wait_until(lambda: pooled(server) == known)


# When they are lost


@pytest.fixture
def far(make_server: Callable[..., Server], streams: Any) -> Server:
    """A server of this test's own, which closes what is idle for a second, and the project's connection leads there."""
    server = make_server(timeout="1")
    streams(URL=server.url, OPTIONS={"client_name": NAME})
    return server


def test_connections_that_the_server_closed_as_idle_are_replaced(far: Server) -> None:
    """Nobody notices, neither with one message nor with many."""
    finish(hold(connections.get(), 3))
    wait_until(lambda: not pooled(far))
    publish("orders", {})
    publish_many("orders", [{}] * 300)
    assert far.raw().xlen("orders") == 301
    assert len(pooled(far)) == 1


def test_a_restart_of_the_server_is_met_once(far: Server) -> None:
    """Whoever used a connection a moment ago meets the loss; the idle ones, which led there too, are met by nobody."""
    link = connections.get()
    finish(hold(link, 5))
    far.restart()
    for each in link._idle:
        each._used += 3600  # as if it were used just now, so that no look tells
    with pytest.raises(ServerUnreachable):
        publish("orders", {})
    for _ in range(5):
        publish("orders", {})
    assert far.raw().xlen("orders") == 5


def test_changed_settings_close_what_is_idle_and_what_is_lent(link: Link, server: Server, streams: Any) -> None:
    """A test that leads elsewhere leaves no connection behind; a lent one is closed when its exchange has ended."""
    idle, lent = hold(link, 2), hold(link, 1)
    finish(idle)
    (held,) = pooled(server)[2:]
    streams(OPTIONS={"db": 5})
    wait_until(lambda: pooled(server) == [held])
    assert connections.get().call("SET", "a", 1) == "OK"
    finish(lent)
    wait_until(lambda: pooled(server) == [])
    assert connections.get() is not link
    assert connections.get().call("GET", "a") == "1"
