"""The server has carried out a command, and the worker never gets the reply."""

import select
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from django_redis_streams.exceptions import Reject
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.store.scripts import script

from ..support.books import books, letters, totals
from ..support.proxies import Proxy
from ..support.servers import Server
from ..support.waiting import wait_until
from ..support.workers import HASTY, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "hasty")

Raw = Any
PUBLISHED = ["ok"] * 5 + ["reject"] * 2 + ["fail once"] * 2
SETTLED = {"acknowledged": 7, "dead-lettered": 2, "retried": 2}


@pytest.fixture
def runs() -> Counter[str]:
    """Return the counts of each message's runs; declares a handler that obeys."""
    counted: Counter[str] = Counter()

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        counted[message.id] += 1
        if message.payload["do"] == "reject":
            raise Reject("told to")
        if message.payload["do"] == "fail once" and message.attempt == 1:
            raise RuntimeError("told to")

    return counted


def publish(raw: Raw) -> list[str]:
    """Publish all in one step, so that one read delivers them; return their message ids."""
    pipeline = raw.pipeline()
    for do in PUBLISHED:
        pipeline.xadd("orders", {"do": do})
    return [f"orders/{each}" for each in pipeline.execute()]


@pytest.mark.parametrize("name", ["XREADGROUP", "ack", "retry", "dead_letter", "promote", "make_group"])
def test_a_lost_reply_loses_nothing_and_doubles_nothing(
    raw: Raw, streams: Callable[..., None], proxy: Proxy, runs: Counter[str], name: str
) -> None:
    """Delivered messages are found and run, settled ones aren't settled again: each once, and at once."""
    streams({"orders": {"GROUPS": {"billing": {"BACKOFF": (0.01, 0.02)}}}}, URL=proxy.url)
    word = name if name.isupper() else script(name).digest
    ids = publish(raw)
    if name == "promote":
        # Another process has the lease until there is something to promote.
        raw.set("{orders}:promoter", "another")
    else:
        proxy.lose_reply_to(word)
    with working():
        if name == "promote":
            wait_until(lambda: totals(raw).get("retried") == 2)
            raw.delete("{orders}:promoter")
            proxy.lose_reply_to(word)
        wait_until(lambda: totals(raw) == SETTLED, f"{SETTLED}")
        wait_until(lambda: proxy._lose is None, "the reply was lost")
    assert runs == {each: 2 if do == "fail once" else 1 for each, do in zip(ids, PUBLISHED, strict=True)}
    assert len(letters(raw)) == 2
    assert books(raw).all == len(ids)


class HalfOpen(Proxy):
    """Loses the client of a blocked read unnoticed by the server, which then delivers to nobody."""

    def __init__(self, server: Server) -> None:
        self.lose = False
        self.kept: list[socket.socket] = []
        super().__init__(server)

    def _pass(self, near: socket.socket) -> None:
        far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        far.connect(str(self.server.socket))
        reading = False
        with near, suppress(OSError):
            while not (self.lose and reading):
                for source in select.select([near, far], [], [], 0.005)[0]:
                    data = source.recv(65536)
                    if not data:
                        far.close()
                        return
                    (near if source is far else far).sendall(data)
                    reading = source is near and b"XREADGROUP" in data
            self.lose = False
            self.kept.append(far)

    def stop(self) -> None:
        """Close the kept connections too."""
        super().stop()
        for each in self.kept:
            each.close()

    def delivered(self) -> bool:
        """Return whether the server has sent the lost connections anything but their end."""
        readable = select.select(self.kept, [], [], 0)[0]
        return any(each.recv(65536, socket.MSG_PEEK) for each in readable)


@pytest.fixture
def half_open(server: Server) -> Iterator[HalfOpen]:
    """Return such a proxy before the test run's server."""
    running = HalfOpen(server)
    yield running
    running.stop()


ONLY_UNBLOCK = ("-client", "+client|id", "+client|unblock")


@pytest.mark.parametrize("rules", [(), ("-client",), ONLY_UNBLOCK], ids=["all", "no CLIENT", "no CLIENT KILL"])
def test_what_is_delivered_to_a_dead_connection_is_run(
    server: Server, streams: Callable[..., None], half_open: HalfOpen, rules: tuple[str, ...]
) -> None:
    """The worker ends its old connection. If an ACL forbids that, it looks for the messages delivered there."""
    raw = server.raw()
    server.user("worker", "secret", "+@all", "~*", *rules)
    streams({"orders": {"GROUPS": {"billing": {}}}}, URL=f"unix://worker:secret@{half_open.socket}")
    seen: list[str] = []
    handler("orders", group="billing")(lambda message: seen.append(message.payload["n"]))
    # The server keeps this read blocked for so long; the worker connects again at once.
    with working(timing=replace(HASTY, block=4, unwoken=4, look_again=0, look_idle=60)):
        (dead,) = wait_until(lambda: readers(raw))
        half_open.lose = True
        wait_until(lambda: readers(raw) - {dead}, "the worker reads again")
        raw.xadd("orders", {"n": 1})
        wait_until(lambda: totals(raw) == {"acknowledged": 1})
        assert half_open.delivered() is bool(rules)
    assert seen == ["1"]
    raw.execute_command("ACL", "DELUSER", "worker")


def readers(raw: Raw) -> set[str]:
    """Return the ids of the clients that wait for messages."""
    return {each["id"] for each in raw.client_list() if each["cmd"] == "xreadgroup" and "b" in each["flags"]}


def test_what_is_pending_for_an_idle_consumer_unseen_is_run(raw: Raw, streams: Callable[..., None]) -> None:
    """It is run however it became pending, and without a new connection."""
    streams({"orders": {"GROUPS": {"billing": {}}}})
    runs: list[str] = []

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        runs.append(message.entry_id)

    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    entry_id = raw.xadd("orders", {"n": 1})
    raw.xreadgroup("billing", "another", {"orders": ">"})
    with working(timing=replace(HASTY, look_idle=0.5)) as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        raw.xclaim("orders", "billing", worker.runner.membership.consumer, 0, [entry_id])
        wait_until(lambda: totals(raw) == {"acknowledged": 1})
    assert runs == [entry_id]
