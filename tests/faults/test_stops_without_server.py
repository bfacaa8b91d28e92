"""A worker is stopped while its server can't be reached: it ends soon, and says truly what it leaves behind."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from django_redis_streams import connections
from django_redis_streams.exceptions import ServerUnreachable
from django_redis_streams.handlers import handler
from django_redis_streams.worker.log.unreachable import log_reached, log_unreachable

from ..support.books import books
from ..support.proxies import Proxy
from ..support.servers import Server
from ..support.waiting import wait_until
from ..support.workers import Fleet, waiting_reads, working

STREAMS = {"orders": {"GROUPS": {"billing": {"BACKOFF": (0.01, 0.02), "CLAIM_IDLE": 1}}}}
COUNT = 5
LEFT = "The worker ended without handing back"


class Site(NamedTuple):
    """A server for one test alone, and workers on it."""

    server: Server
    fleet: Fleet

    def begin(self, finish: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a worker; return it amid the first of five messages, which ends when the path exists.

        It would wait a minute for a reply, if a stop waited for one: that is far from the time of any stop here.
        """
        pipeline = self.server.raw().pipeline()
        for do in [f"wait:{finish}", *["ok"] * (COUNT - 1)]:
            pipeline.xadd("orders", {"do": do})
        pipeline.execute()
        worker = self.fleet.start(*arguments, **{"TEST_REPLY_TIMEOUT": "60", **environment})
        wait_until(lambda: self.fleet.noted("began"))
        return worker

    def finish_all(self, finish: Path) -> None:
        """Let the first message end, and wait until all have ended."""
        finish.touch()
        wait_until(lambda: len(self.fleet.noted("ended")) == COUNT)

    def stop(self, worker: subprocess.Popen[str], code: int, *, number: int = signal.SIGTERM) -> str:
        """Signal all processes of a worker, as a terminal does, and return its output, soon."""
        began = time.monotonic()
        os.killpg(worker.pid, number)
        said = self.fleet.finish(worker, code=code)
        assert time.monotonic() - began < 20, said
        return said


@pytest.fixture
def site(make_server: Callable[..., Server], tmp_path: Path) -> Iterator[Site]:
    """Return a server that may be ended, with workers that end with the test."""
    server = make_server()
    fleet = Fleet(tmp_path, server.url, STREAMS)
    yield Site(server, fleet)
    if server.process is not None:
        server.cont()
    fleet.end()


def levels(said: str, level: str) -> list[str]:
    """Return the lines of this level."""
    return [line for line in said.splitlines() if f" {level} " in line]


@pytest.mark.parametrize(
    ("number", "arguments"),
    [
        (signal.SIGINT, ()),
        pytest.param(signal.SIGTERM, (), marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, ("--processes", "3", "--threads", "2"), marks=pytest.mark.slow),
    ],
)
def test_a_stop_without_a_server_is_soon_and_says_what_stays_behind(
    site: Site, tmp_path: Path, number: int, arguments: tuple[str, ...]
) -> None:
    """It says once how much stays pending, and how much of it was run; and nothing that isn't so."""
    worker = site.begin(tmp_path / "finish", *arguments)
    site.server.end()
    site.finish_all(tmp_path / "finish")
    said = site.stop(worker, 1, number=number)
    (left,) = [line for line in said.splitlines() if LEFT in line]
    assert f"{LEFT} {COUNT} messages, " in left
    assert "claim them after CLAIM_IDLE. 5 of them were run, and their outcomes couldn't be told" in left
    assert "is back" not in said
    assert "rescuer" not in said
    # An outage is one line for each process, and one is of what stays behind. On a machine that keeps one from running,
    # there may be another process, which renews for it.
    assert len(levels(said, "ERROR")) <= 2 + int([*arguments, 1, 1][1]), said
    assert "Stopped. What waits isn't counted" in said
    site.server.start()
    assert len(site.server.raw().xpending_range("orders", "billing", "-", "+", 10)) == COUNT
    site.fleet.drain()
    assert books(site.server.raw()).acknowledged == COUNT


def test_a_second_signal_ends_a_worker_without_a_server_at_once(site: Site, tmp_path: Path) -> None:
    """Neither its handler nor its server is waited for, and what it held is said to stay behind."""
    worker = site.begin(tmp_path / "finish", "--shutdown-timeout", "60", TEST_RESCUERS_GRACE="60")
    site.server.end()
    worker.send_signal(signal.SIGINT)
    site.fleet.stops_amid_work(worker)
    said = site.stop(worker, 1, number=signal.SIGINT)
    assert len(re.findall(r"A second signal came\. Processes that still run are killed: \d+\.", said)) == 1
    assert len(re.findall(rf"{LEFT} what process \d+ held, because", said)) == 1
    assert "handed back." not in said.replace("are to be handed back.", "")


def test_what_a_dead_process_held_is_no_reason_to_wait_for_a_server(site: Site, tmp_path: Path) -> None:
    """Its rescuer has tried in vain, and does so for a moment more."""
    worker = site.begin(tmp_path / "finish")
    child = site.fleet.runner()
    site.server.end()
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: child not in site.fleet.children(worker))
    time.sleep(0.5)  # the rescuer is at work
    said = site.stop(worker, 1)
    assert f"{LEFT} what process {child} held, because" in said
    assert "Couldn't look after" not in said


def test_a_stop_says_what_it_waits_for_and_until_when(site: Site, tmp_path: Path) -> None:
    """A line for each process names its messages with their handlers, and the end of --shutdown-timeout."""
    worker = site.begin(tmp_path / "finish", "--processes", "2", "--shutdown-timeout", "60")
    ((_, message, *_),) = site.fleet.noted("began")
    worker.terminate()
    line = site.fleet.stops_amid_work(worker)
    (tmp_path / "finish").touch()
    assert not levels(site.fleet.finish(worker), "WARNING")
    named = rf"1 messages, orders:billing '{message}' in tests\.support\.obedient_handlers\._declare\.\S+\.run\.$"
    found = re.search(
        rf"Process \d+ stops, and waits until (\S+) \(--shutdown-timeout\) for what it runs: {named}", line
    )
    assert found, line
    said_at, ends_at = (time.strptime(each, "%H:%M:%S") for each in (line.split()[1].partition(",")[0], found[1]))
    seconds = (time.mktime(ends_at) - time.mktime(said_at)) % 86_400
    assert 55 < seconds <= 61


@pytest.mark.parametrize("met", [True, False], ids=["lost", "never met"])
def test_an_idle_worker_waits_for_no_server_that_stands_still(site: Site, met: bool) -> None:
    """It holds nothing, so its end is a clean one."""
    if not met:
        site.server.pause()
    worker = site.fleet.start(TEST_REPLY_TIMEOUT="60")
    if met:
        wait_until(lambda: waiting_reads(site.server.raw()) == 1)
        site.server.pause()
    wait_until(lambda: site.fleet.children(worker))
    time.sleep(0.7)  # the processes are amid their waits
    said = site.stop(worker, 0)
    assert "Stopped." in said
    assert LEFT not in said


def test_a_stop_waits_for_no_connection_that_is_being_made(tmp_path: Path) -> None:
    """Nobody answers at the address, which takes as long as the settings allow."""
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for each in (first, second):  # they wait to be accepted: there is no room for more
            each.setblocking(False)
            each.connect_ex(deaf.getsockname())
        port = deaf.getsockname()[1]
        fleet = Fleet(tmp_path, f"redis://127.0.0.1:{port}/0?socket_connect_timeout=30")
        try:
            worker = fleet.start()
            wait_until(lambda: fleet.children(worker))
            time.sleep(0.7)  # its threads connect
            began = time.monotonic()
            os.killpg(worker.pid, signal.SIGTERM)
            said = fleet.finish(worker)
        finally:
            fleet.end()
    assert time.monotonic() - began < 20, said


def test_a_reply_that_comes_byte_by_byte_is_lost_when_it_takes_too_long(site: Site, tmp_path: Path) -> None:
    """At the stop a whole reply has its time; then it is a server without answers, not a handler that holds up all."""
    proxy = Proxy(site.server)
    site.fleet.url = proxy.url
    try:
        worker = site.begin(tmp_path / "finish", "--shutdown-timeout", "60", TEST_REPLY_TIMEOUT="1")
        proxy.trickles.set()
        site.finish_all(tmp_path / "finish")
        said = site.stop(worker, 1)
    finally:
        proxy.stop()
    assert LEFT in said
    assert "sent no whole reply in time" in said
    assert "didn't finish" not in said


def test_a_process_that_is_killed_without_a_handler_is_not_said_to_have_one(site: Site, tmp_path: Path) -> None:
    """A server that stands still holds it up for longer than --shutdown-timeout."""
    worker = site.begin(tmp_path / "finish", "--shutdown-timeout", "0.5")
    child = site.fleet.runner()
    site.server.pause()
    site.finish_all(tmp_path / "finish")
    worker.terminate()
    wait_until(lambda: child not in site.fleet.children(worker))
    site.server.cont()
    said = site.fleet.finish(worker, code=1)
    assert re.search(r"didn't end within --shutdown-timeout, though no handler runs\. They are killed: \d+\.", said)
    assert "Handlers" not in said


def test_a_server_that_was_never_reached_was_not_lost(
    site: Site, isolated_handlers: None, hasty: None, streams: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """All threads say in one line that it can't be reached, and in one that it is back, whatever each has met."""
    handler("orders", group="billing")(lambda _: None)
    site.server.raw().xadd("orders", {"do": "ok"})
    site.server.end()
    proxy = Proxy(site.server)
    proxy.shut.set()
    streams(STREAMS, URL=proxy.url)
    try:
        with working():
            wait_until(lambda: "can't be reached" in caplog.text)
            time.sleep(1)  # each thread tries several times
            site.server.start()  # a server that loads its data is another error, so nobody meets it in between
            proxy.shut.clear()
            wait_until(lambda: books(site.server.raw()).acknowledged == 1)
    finally:
        proxy.stop()
    (away, back) = [each.getMessage() for each in caplog.records]
    assert away.startswith("The server of connection 'default' can't be reached")
    assert "lost" not in away
    assert back == "The server of connection 'default' is back."


def test_a_server_isn_t_back_before_it_has_answered(caplog: pytest.LogCaptureFixture) -> None:
    """A thread that had nothing to ask doesn't know yet that the server is away."""
    answered = time.monotonic()
    log_unreachable("away", ServerUnreachable("Connection closed by server. It is away."))
    log_unreachable("away", ServerUnreachable("Error 111 connecting to it. Connection refused."))
    log_reached("away", answered)
    assert [each.levelname for each in caplog.records] == ["ERROR"]
    log_reached("away", time.monotonic())
    assert [each.levelname for each in caplog.records] == ["ERROR", "WARNING"]


def test_a_reply_that_is_read_late_brings_no_server_back(
    site: Site, streams: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It was sent before the server ended, and is read when another thread has lost its connection."""
    streams(STREAMS, URL=site.server.url)
    link = connections.open(timeout=5)
    link.send([("PING",)])
    wait_until(lambda: link._connection.can_read(timeout=0))
    log_unreachable("late", ServerUnreachable("Connection closed by server."))
    assert link.receive(1) == ["PONG"]
    log_reached("late", link.answered)
    assert [each.levelname for each in caplog.records] == ["ERROR"]
    link.call("PING")
    log_reached("late", link.answered)
    assert [each.levelname for each in caplog.records] == ["ERROR", "WARNING"]
    link.close()
