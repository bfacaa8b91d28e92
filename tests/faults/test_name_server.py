"""A name server stalls: the worker waits for it, is alive meanwhile, and says so once."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from django_redis_streams.worker.log.unreachable import log_openings, log_reached

from ..support.books import books
from ..support.servers import Server
from ..support.waiting import wait_until
from ..support.workers import Fleet

# The TIMEOUT is that by which a consumer's own work is judged, where it is longer than what that gets at least.
STREAMS = {"orders": {"GROUPS": {"billing": {"TIMEOUT": 1}}}}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Site(NamedTuple):
    """A server that is reached by its host's name, workers on it, the port of their probes, and what stalls names."""

    server: Server
    fleet: Fleet
    port: int
    stalls: Path

    def start(self) -> subprocess.Popen[str]:
        """Start a worker, by whose settings names are looked up as long as `stalls` exists."""
        return self.fleet.start(
            "--health-port", str(self.port), TEST_HANDLERS="tests.support.stalling_handlers",
            TEST_STALLS=str(self.stalls), TEST_BLOCK="0.2",
        )  # fmt: skip

    def asked(self, path: str) -> tuple[int, str]:
        """Return status and body of a probe; 0 while nobody answers."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as reply:
                return reply.status, reply.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()
        except (URLError, ConnectionError):
            return 0, ""

    @property
    def ready(self) -> bool:
        """Whether the worker is ready."""
        return self.asked("/readyz")[0] == 200


@pytest.fixture
def site(make_server: Callable[..., Server], tmp_path: Path) -> Iterator[Site]:
    """Return a server with a port, and workers that end with the test."""
    port = free_port()
    server = make_server(port=str(port))
    fleet = Fleet(tmp_path, f"redis://localhost:{port}/0?socket_connect_timeout=60", STREAMS)
    yield Site(server, fleet, free_port(), tmp_path / "stalls")
    fleet.end()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("met", [True, False], ids=["lost", "never met"])
def test_a_worker_whose_name_server_stalls_is_alive_and_says_so_once(site: Site, met: bool) -> None:
    """No probe has it restarted, its supervisor replaces no process, and it works when names are resolved again."""
    if not met:
        site.stalls.touch()
    worker = site.start()
    wait_until((lambda: site.ready) if met else (lambda: site.asked("/healthz")[0] == 200))
    wait_until(lambda: len(site.fleet.children(worker)) == 2)
    processes = site.fleet.children(worker)
    if met:
        site.stalls.touch()
        site.server.restart()
    wait_until(lambda: "not connected" in site.asked("/readyz")[1])
    until = time.monotonic() + 10  # this is the fault: twice as long as a consumer may be silent
    while time.monotonic() < until:
        assert json.loads(site.asked("/healthz")[1]) == {"ok": True, "problems": []}
    assert site.fleet.children(worker) == processes
    assert not site.ready
    site.stalls.unlink()
    wait_until(lambda: site.ready)
    site.server.raw().xadd("orders", {"do": "nothing"})
    wait_until(lambda: books(site.server.raw()).acknowledged == 1)
    worker.terminate()
    said = site.fleet.finish(worker)
    (away,) = [line for line in said.splitlines() if " ERROR " in line]
    assert ("connecting to redis://localhost:" in away) is not met
    assert "The server of connection 'default' can't be reached: " in away
    assert said.count("The server of connection 'default' is back.") == 1


def test_a_consumer_that_is_connected_anew_for_long_is_not_ready(site: Site, tmp_path: Path) -> None:
    """Its last turn went well, and the server has closed its connection as idle since."""
    site.server.options["timeout"] = "1"
    site.server.restart()
    site.fleet.streams = {"orders": {"GROUPS": {"billing": {}}}}
    worker = site.start()
    wait_until(lambda: site.ready)
    raw, finish = site.server.raw(), tmp_path / "finish"
    raw.xadd("orders", {"do": f"wait:{finish}"})
    wait_until(lambda: site.fleet.noted("began"))
    # Whether its group is paused is what a consumer asks last before it runs a handler.
    wait_until(lambda: "hget" not in {each["cmd"] for each in raw.client_list()})
    assert site.ready
    site.stalls.touch()
    finish.touch()
    wait_until(lambda: "not connected" in site.asked("/readyz")[1])
    site.stalls.unlink()
    wait_until(lambda: site.ready)
    wait_until(lambda: books(raw).acknowledged == 1)
    worker.terminate()
    site.fleet.finish(worker)


def test_a_stop_waits_for_no_name_server(site: Site) -> None:
    """Nothing is in hand, so it is clean; what waits isn't counted, since that takes a new connection."""
    worker = site.start()
    wait_until(lambda: site.ready)
    site.stalls.touch()
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    said = site.fleet.finish(worker)
    assert time.monotonic() - began < 30, said
    assert "Stopped. What waits isn't counted, because a server couldn't be reached or refused something." in said


def test_an_outage_lasts_while_a_connection_is_opened(streams: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Another thread that is connected all the time doesn't end it."""
    levels = lambda: [each.levelname for each in caplog.records]  # noqa: E731
    now = time.monotonic()
    log_openings([("default", now - 4), ("default", None)])
    assert levels() == []
    for _ in range(2):
        log_openings([("default", None), ("default", now - 6), ("default", now)])
        log_reached("default")
    assert levels() == ["ERROR"]
    log_openings([("default", None), ("default", now)])
    log_reached("default")
    assert levels() == ["ERROR", "WARNING"]
