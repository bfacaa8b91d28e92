"""The server is away for a while amid the work, and still every published message is handled."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams import inspection, publish
from django_redis_streams.connections import link as links
from django_redis_streams.exceptions import Reject, ServerUnreachable
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.worker.log.unreachable import log_reached, log_unreachable
from django_redis_streams.worker.services.service import Service

from ..support.books import Books, books, letters, totals
from ..support.servers import Server
from ..support.waiting import wait_until
from ..support.workers import HASTY, Fleet, Worker, waiting_reads, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "hasty")

Raw = Any
COUNT = 1_500


@pytest.fixture
def own_server(make_server: Callable[..., Server], streams: Callable[..., None]) -> Iterator[Server]:
    """Return a server for this test alone, which may be killed."""
    server = make_server()
    streams({"orders": {"GROUPS": {"billing": {"BACKOFF": (0.01, 0.02)}}}}, URL=server.url)
    return server


@pytest.fixture
def runs() -> Counter[int]:
    """Return the counts of each message's runs; of a hundred messages, one fails once and one is rejected."""
    counted: Counter[int] = Counter()

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        n = int(message.payload["n"])
        counted[n] += 1
        time.sleep(0.0003)
        if n % 100 == 7:
            raise Reject("told to")
        if n % 100 == 8 and message.attempt == 1:
            raise RuntimeError("told to")

    return counted


def kill_and_start(server: Server) -> None:
    """End the server like a crash, and start it again."""
    server.kill9()
    server.start()


def pause(server: Server) -> None:
    """Suspend the server for longer than a reply may take."""
    server.pause()
    time.sleep(1)  # this is the fault
    server.cont()


@pytest.mark.parametrize(
    "away",
    [
        pytest.param(Server.restart, id="restart", marks=pytest.mark.slow),
        pytest.param(kill_and_start, id="kill -9"),
        pause,
    ],
)
def test_all_that_was_published_is_handled(
    own_server: Server, runs: Counter[int], away: Callable[[Server], None]
) -> None:
    """The server is away twice; the books balance, and only messages in hand may be run again."""
    timing = replace(HASTY, reply_timeout=0.45)
    pipeline = own_server.raw().pipeline()
    for n in range(COUNT):
        pipeline.xadd("orders", {"n": n})
    pipeline.execute()
    wanted = Books(COUNT - 15, 0, 0, 15, 0, 0, unread=0, pending=0, retrying=0)
    with working(name="one", timing=timing), working(name="two", timing=timing):
        for share in (3, 2):
            wait_until(lambda share=share: len(runs) > COUNT // share)
            away(own_server)
        wait_until(lambda: books(own_server.raw()) == wanted, f"{wanted}", deadline=120)
    assert set(runs) == set(range(COUNT))
    assert len({letter.metadata["entry"] for letter in letters(own_server.raw())}) == 15
    again = runs.total() - COUNT - COUNT // 100
    assert again <= 2 * 2 * 100, "at each of two times, each of two workers has a hundred in hand at most"


@pytest.mark.parametrize("away", [Server.restart, kill_and_start], ids=["restart", "kill -9"])
def test_what_is_delayed_outlives_its_server(
    own_server: Server, runs: Counter[int], away: Callable[[Server], None]
) -> None:
    """Each message is run once, when it is due."""
    for n in range(10, 20):
        publish("orders", {"n": n}, delay=0.5)
    away(own_server)
    assert own_server.raw().zcard("{orders}:delayed") == 10
    with working():
        wait_until(lambda: totals(own_server.raw()) == {"acknowledged": 10})
    assert runs == Counter(range(10, 20))
    assert not own_server.raw().exists("{orders}:delayed", "{orders}:delayed:entries")


def test_a_worker_waits_for_its_server_and_says_so(
    own_server: Server, runs: Counter[int], caplog: pytest.LogCaptureFixture
) -> None:
    """Messages of a batch that are handled meanwhile are acknowledged when the server is back."""
    raw = own_server.raw()
    for n in range(10):
        raw.xadd("orders", {"n": n})
    with working():
        wait_until(lambda: runs)
        own_server.end()
        wait_until(lambda: "The server of connection 'default' can't be reached" in caplog.text)
        own_server.start()
        wait_until(lambda: books(own_server.raw()).acknowledged == 9)
        wait_until(lambda: "is back" in caplog.text)
    lines = [each.getMessage() for each in caplog.records if "can't be reached" in each.getMessage()]
    assert len(lines) == len(set(lines)), "each error once, whichever thread has met it, and however often"


def test_a_worker_that_starts_before_its_server_waits_for_it(
    own_server: Server, runs: Counter[int], caplog: pytest.LogCaptureFixture
) -> None:
    """It doesn't end, and works as soon as the server is there."""
    own_server.raw().xadd("orders", {"n": 1})
    own_server.end()
    with working():
        wait_until(lambda: "can't be reached" in caplog.text)
        own_server.start()
        wait_until(lambda: books(own_server.raw()).acknowledged == 1)


def go_down(server: Server) -> None:
    """Stop the server and start it again: idle times go on meanwhile."""
    server.end()
    time.sleep(3.1)  # this is the fault
    server.start()


def stand_still(server: Server) -> None:
    """Suspend the server: consumers keep their connections; services, which wait less for a reply, lose them."""
    server.pause()
    time.sleep(3.1)  # this is the fault
    server.cont()


@pytest.mark.slow
@pytest.mark.parametrize("away", [go_down, stand_still])
def test_after_an_outage_nothing_is_claimed_from_the_living(
    own_server: Server, streams: Any, monkeypatch: pytest.MonkeyPatch, away: Callable[[Server], None]
) -> None:
    """Living workers' heartbeats may come back later than other workers, which must wait for them."""
    timing = replace(HASTY, service_timeout=0.3, reply_timeout=10)
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 3}}}}, URL=own_server.url)
    runs: list[str] = []
    finish, back = threading.Event(), threading.Event()

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        runs.append(threading.current_thread().name)
        finish.wait(30)

    own_server.raw().xadd("orders", {"n": 1})
    living = Worker(name="living", timing=timing).start()
    wait_until(lambda: runs)
    with working(name="other", timing=timing) as other:
        wait_until(lambda: other.runner.claiming.may_claim)
        monkeypatch.setattr(
            living.services[0], "_connected", lambda: back.wait(30) and Service._connected(living.services[0])
        )
        away(own_server)
        looks = xpendings(own_server)
        wait_until(lambda: xpendings(own_server) > looks + 20, "the other has looked for what it may claim")
        back.set()
        wait_until(lambda: other.runner.claiming.may_claim)
        finish.set()
        wait_until(lambda: books(own_server.raw()).acknowledged == 1)
    living.end()
    assert runs == ["living"]


def xpendings(server: Server) -> int:
    """Return how often any client has looked at pending messages."""
    return server.raw().info("commandstats").get("cmdstat_xpending", {"calls": 0})["calls"]


@pytest.mark.parametrize("met", [True, False], ids=["lost", "never met"])
def test_an_idle_worker_stops_cleanly_while_its_server_is_away(
    make_server: Callable[..., Server], tmp_path: Path, met: bool
) -> None:
    """It holds nothing, so there is nothing to settle or hand back, and nobody to wait for."""
    server = make_server()
    fleet = Fleet(tmp_path, server.url)
    try:
        if not met:
            server.end()
        worker = fleet.start()
        if met:
            wait_until(lambda: waiting_reads(server.raw()) == 1)
            server.end()
        wait_until(lambda: fleet.children(worker))
        time.sleep(0.5)  # the processes may meet errors meanwhile
        worker.terminate()
        said = fleet.finish(worker, deadline=20)
    finally:
        fleet.end()
    assert "couldn't settle" not in said
    assert "handed back" not in said


def test_what_threads_find_out_late_is_not_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    """A second error is logged once too, such as that of a server that loads its data."""
    for error in ["closed", "loading", "closed"]:
        log_unreachable("away", ServerUnreachable(error))
        log_reached("away")
    assert [each.args[1] for each in caplog.records if each.levelname == "ERROR"] == ["closed", "loading"]


def test_a_server_that_never_was_there_is_logged_in_one_line(tmp_path: Path) -> None:
    """All threads of the process try again and again, and log it once."""
    fleet = Fleet(tmp_path, "redis://127.0.0.1:1/0")
    try:
        worker = fleet.start()
        wait_until(lambda: fleet.children(worker))
        time.sleep(3)  # several tries of each thread
        worker.terminate()
        said = fleet.finish(worker)
    finally:
        fleet.end()
    lines = [line for line in said.splitlines() if "127.0.0.1:1" in line and not line.startswith("Stopped")]
    assert len(lines) == 1, said
    assert " ERROR The server of connection 'default' can't be reached: " in lines[0]
    assert "Run `manage.py streams doctor`" in lines[0]


@pytest.mark.parametrize("options", [{}, {"username": "nobody"}])
def test_a_wrong_password_is_logged_as_such(
    own_server: Server, runs: Counter[int], streams: Any, caplog: pytest.LogCaptureFixture, options: dict[str, str]
) -> None:
    """The connection wasn't lost: the server has refused it."""
    streams(URL=own_server.url, OPTIONS={"password": "wrong", **options})
    with working():
        wait_until(lambda: "refuses it, probably for its user or password" in caplog.text)
    assert "can't be reached" not in caplog.text


@pytest.mark.parametrize("seen", [True, False], ids=["before a look", "right after a look"])
def test_a_server_that_closes_idle_connections_is_no_fault(
    make_server: Callable[..., Server],
    streams: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    seen: bool,
) -> None:
    """Each connects again before it needs the server, or when it has lost a command: all is counted, nothing logged."""
    if not seen:
        here, looks = threading.get_ident(), links._stale
        monkeypatch.setattr(links, "_stale", lambda connection: threading.get_ident() == here and looks(connection))
    # A second more than what a link takes for idle: on a busy machine a reply is read later than the server sent it.
    server = make_server(timeout="2")
    streams({"orders": {"GROUPS": {"billing": {}}}}, URL=server.url)
    raw = server.raw()

    @handler("orders", group="billing")
    def run(_: Message) -> None:
        consumer = worker.runner.connection.link().call("CLIENT", "ID")
        wait_until(lambda: consumer not in {int(each["id"]) for each in raw.client_list()})

    with working() as worker:
        for n in range(2):
            raw.xadd("orders", {"n": n})
            wait_until(lambda n=n: totals(raw) == {"acknowledged": n + 1}, deadline=120)
        wait_until(lambda: inspection.activity("orders").groups[0].last(2).acknowledged == 2)
    assert [each.getMessage() for each in caplog.records if each.levelname in {"ERROR", "WARNING"}] == []
