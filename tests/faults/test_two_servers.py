"""A worker of streams on two servers, of which one is away, silent, or refuses: the other has nothing to do with that.

The default connection leads to the server that is ill, because it comes first wherever both are gone through.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ..support.books import books
from ..support.servers import Server
from ..support.waiting import wait_until
from ..support.workers import Fleet, waiting_reads

Raw = Any
GROUP = {"BACKOFF": (0.01, 0.02)}
STREAMS = {
    "orders": {"GROUPS": {"billing": GROUP}},
    "tasks": {"CONNECTION": "well", "GROUPS": {"mailing": GROUP}},
}
COUNT = 5
# Of a process to each server: that of its consumer, those of its six services, and that of the relay.
CONNECTIONS = 8
LEFT = "The worker ended without handing back"
# What waits for the ill server in vain does so for a minute.
PATIENT = ("--shutdown-timeout", "60")
PLACES = {"orders": "billing", "tasks": "mailing"}


class Site(NamedTuple):
    """An `ill` server with the stream "orders", a `well` one with "tasks", workers on both, and what they wait for."""

    ill: Server
    well: Server
    fleet: Fleet
    finish: Path

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a worker of both streams, at each server as a user whose rights can be changed."""
        self.fleet.url, url = (each.user("worker", "secret", "+@all", "~*", "&*") for each in (self.ill, self.well))
        connections = json.dumps({"well": {"URL": url}})
        return self.fleet.start(
            *arguments,
            TEST_CONNECTIONS=connections,
            TEST_HANDLERS="tests.support.tardy_handlers",
            **environment,
        )

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a worker; return it amid the first of five messages on each server, which end when `finish` exists."""
        for server, stream in ((self.ill, "orders"), (self.well, "tasks")):
            for do in [f"wait:{self.finish}", *["ok"] * (COUNT - 1)]:
                server.raw().xadd(stream, {"do": do})
        worker = self.start(*arguments, **environment)
        wait_until(lambda: sum("wait:" in do for _, _, do, *_ in self.fleet.noted("began")) == 2)
        return worker

    def begin_stop(self, worker: subprocess.Popen[str]) -> None:
        """Stop a worker amid its runs, and let these end once its process knows of the stop: then it begins no other.

        It knows when it opens one more connection to end what waits. All others must be open before.
        """
        raw = self.well.raw()
        wait_until(lambda: connections_of_worker(raw) == CONNECTIONS)
        worker.terminate()
        wait_until(lambda: connections_of_worker(raw) > CONNECTIONS)
        self.finish.touch()

    def stop(self, worker: subprocess.Popen[str], code: int) -> str:
        """Stop a worker amid its runs, let these end, and return its output: all that within half of its patience."""
        began = time.monotonic()
        self.begin_stop(worker)
        said = self.fleet.finish(worker, code=code)
        assert time.monotonic() - began < 30, said
        return said


def connections_of_worker(raw: Raw) -> int:
    """Return how many connections to a server the worker has open."""
    return sum(each["user"] == "worker" for each in raw.client_list())


@pytest.fixture
def site(make_server: Callable[..., Server], tmp_path: Path) -> Iterator[Site]:
    """Return two servers that may be ended, and workers that end with the test."""
    ill, well = make_server(), make_server()
    fleet = Fleet(tmp_path, ill.url, STREAMS)
    yield Site(ill, well, fleet, tmp_path / "finish")
    if ill.process is not None:
        ill.cont()
    fleet.end()


def allow(server: Server, *rules: str) -> None:
    """Change what a worker may do on a server."""
    server.raw().execute_command("ACL", "SETUSER", "worker", *rules)


def holders(raw: Raw, stream: str) -> set[str]:
    """Return the names of workers' consumers that hold messages of a stream."""
    return {each["name"] for each in raw.xinfo_consumers(stream, PLACES[stream]) if each["pending"]} - {"returned"}


def assert_all_done_of_the_well(site: Site) -> None:
    """What ran there is settled, the rest was handed back, the worker has taken its leave and counted what it did."""
    raw = site.well.raw()
    assert holders(raw, "tasks") == set()
    found = books(raw, "mailing", "tasks")
    assert (found.acknowledged, found.all) == (1, COUNT)
    assert raw.zcard("{tasks}:processes") == 0
    (minute, *more) = raw.scan_iter("{tasks}:stats:mailing:*")
    assert sum(int(raw.hget(each, "acknowledged") or 0) for each in (minute, *more)) == 1


def errors(said: str) -> list[str]:
    """Return the lines of errors."""
    return [line for line in said.splitlines() if " ERROR " in line]


@pytest.mark.parametrize(
    ("fault", "cure", "reply_timeout", "stay"),
    [
        pytest.param(Server.end, Server.start, "60", {COUNT}, id="away"),
        # It may carry out what it was sent meanwhile. For a reply of it the stop waits, and a second more.
        pytest.param(Server.pause, Server.cont, "5", {COUNT, COUNT - 1}, id="silent"),
    ],
)
def test_a_stop_with_one_server_away_does_all_at_the_other(
    site: Site, fault: Callable[[Server], None], cure: Callable[[Server], None], reply_timeout: str, stay: set[int]
) -> None:
    """It takes no longer than with the other server alone, and tells what stays behind and nothing else."""
    worker = site.begin(*PATIENT, TEST_REPLY_TIMEOUT=reply_timeout)
    fault(site.ill)
    said = site.stop(worker, 1)
    (left,) = [line for line in said.splitlines() if LEFT in line]
    assert f"{LEFT} {COUNT} messages, " in left
    assert "1 of them were run, and their outcomes couldn't be told" in left
    assert "connection 'well'" not in said
    assert "rescuer" not in said
    assert "are to be handed back" not in said
    assert_all_done_of_the_well(site)
    cure(site.ill)
    assert len(site.ill.raw().xpending_range("orders", "billing", "-", "+", 10)) in stay


@pytest.mark.parametrize("fault", [Server.end, Server.pause], ids=["away", "silent"])
def test_a_stop_with_nothing_in_hand_at_a_server_that_is_away_is_clean(
    site: Site, fault: Callable[[Server], None]
) -> None:
    """Whatever the worker has in hand at the other."""
    site.well.raw().xadd("tasks", {"do": f"wait:{site.finish}"})
    worker = site.start(*PATIENT, TEST_REPLY_TIMEOUT="60")
    wait_until(lambda: site.fleet.noted("began"))
    for _ in range(COUNT - 1):
        site.well.raw().xadd("tasks", {"do": "ok"})
    wait_until(lambda: waiting_reads(site.ill.raw()) == 1)
    fault(site.ill)
    said = site.stop(worker, 0)
    assert LEFT not in said
    assert_all_done_of_the_well(site)


def test_a_stop_with_one_server_that_refuses_does_all_at_the_other(site: Site) -> None:
    """A rescuer tries again in vain. Then it is told that messages stay behind, which is so at that server alone."""
    worker = site.begin(*PATIENT, TEST_RESCUERS_GRACE="60")
    allow(site.ill, "-xack", "-xclaim")
    said = site.stop(worker, 1)
    assert "A rescuer tries again" in said
    assert re.search(rf"{LEFT} what process \d+ held, because a server couldn't be reached or refused it", said)
    assert "can't be reached" not in said
    assert_all_done_of_the_well(site)
    assert len(site.ill.raw().xpending_range("orders", "billing", "-", "+", 10)) == COUNT


def test_what_a_server_refused_is_tried_again_though_another_is_away(site: Site) -> None:
    """A rescuer does it, as the log says, while nobody tries again what is on the server that is away."""
    worker = site.begin()
    raw = site.well.raw()
    site.ill.end()
    raw.acl_log_reset()
    allow(site.well, "-xclaim")
    site.begin_stop(worker)
    wait_until(lambda: "xclaim" in {each["object"] for each in raw.acl_log()})
    allow(site.well, "+xclaim")
    said = site.fleet.finish(worker, code=1)
    assert "A rescuer tries again" in said
    assert holders(raw, "tasks") == set()
    found = books(raw, "mailing", "tasks")
    assert (found.acknowledged, found.all) == (1, COUNT)
    (left,) = [line for line in said.splitlines() if LEFT in line]
    assert f"{LEFT} {COUNT} messages, " in left


def test_what_a_dead_process_held_is_handed_back_though_another_server_is_silent(site: Site) -> None:
    """At the stop a rescuer has three seconds here. At a silent server it takes two for each consumer."""
    worker = site.begin("--threads", "2", TEST_RESCUERS_GRACE="3")
    (child,) = site.fleet.children(worker)
    site.ill.pause()
    began = time.monotonic()
    worker.terminate()
    os.kill(child, signal.SIGKILL)
    said = site.fleet.finish(worker, code=1)
    assert time.monotonic() - began < 30, said
    assert re.search(rf"{LEFT} what process {child} held, because", said)
    assert holders(site.well.raw(), "tasks") == set()


def test_a_rescue_at_one_server_waits_for_no_other(site: Site, tmp_path: Path) -> None:
    """What else a process held that has ended is run at once, and then what has ended it, in quarantine."""
    site.start()
    wait_until(lambda: waiting_reads(site.ill.raw()) == 1)
    site.ill.pause()

    def acknowledged() -> int:
        return books(site.well.raw(), "mailing", "tasks").acknowledged

    def rescued_after() -> float:
        before, began = acknowledged(), time.monotonic()
        pipeline = site.well.raw().pipeline()
        for do in (f"die-once:{tmp_path / str(before)}", *["ok"] * 4):
            pipeline.xadd("tasks", {"do": do})
        pipeline.execute()
        wait_until(lambda: acknowledged() >= before + 4)
        took = time.monotonic() - began
        wait_until(lambda: acknowledged() == before + 5)
        return took

    wait_until(lambda: rescued_after() < 4, "it is soon, where nothing else holds it up")


def test_a_quarantine_passes_over_a_server_that_is_away(site: Site, tmp_path: Path) -> None:
    """Suspects at the other server are run."""
    site.start()
    wait_until(lambda: waiting_reads(site.ill.raw()) == 1)
    site.ill.end()
    site.well.raw().xadd("tasks", {"do": f"die-once:{tmp_path / 'died'}"})
    wait_until(lambda: books(site.well.raw(), "mailing", "tasks").acknowledged == 1)
