"""What handlers leave behind when their process ends: it ends too, and holds nothing of the worker's open."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_redis_streams import connections
from django_redis_streams.embedded import serves
from django_redis_streams.embedded.place import SERVER_LOCK

from .faults import row
from .support.books import totals
from .support.waiting import wait_until
from .support.workers import ROOT, Fleet

Raw = Any
# Without the relay: see test_forked_children.py.
HANDLERS = {"TEST_HANDLERS": "tests.support.forking_handlers", "TEST_WITHOUT_OUTBOX": "1"}


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory for an embedded server, short enough for its socket."""
    made = Path(tempfile.mkdtemp(prefix="streams-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and wasn't waited for doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def publish(raw: Raw, type_: str, **fields: str) -> None:
    """A message for a handler that leaves something behind."""
    raw.xadd("orders", {"type": type_, "do": "nothing", **fields})


def pids(fleet: Fleet, what: str) -> list[int]:
    """The processes that handlers noted so."""
    return [int(words[-1]) for words in fleet.noted(what)]


def waits(pid: int) -> int:
    """How often a process has begun to wait for something, as a supervisor does once in each of its turns."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


LEFT = ("process", "daemon", "deaf", "program", "session", "orphan", "executor")


@pytest.mark.parametrize("what", row(LEFT, often=("process", "deaf", "session", "orphan", "executor")))
def test_what_a_handler_leaves_behind_ends_with_the_worker(raw: Raw, fleet: Fleet, what: str) -> None:
    """Also in a session of its own or without a parent; and so nobody waits for the end of the worker's output."""
    publish(raw, "leave", what=what, then="return")
    worker = fleet.start(**HANDLERS)
    wait_until(lambda: totals(raw) == {"acknowledged": 1})
    (left,) = wait_until(lambda: set(pids(fleet, "left")))
    assert alive(left)
    worker.terminate()
    said = fleet.finish(worker)
    assert not alive(left)
    # Who doesn't end when the process asks is told of: the worker has to see to it.
    assert (f"({left})" in said) == (what in {"deaf", "orphan"})


@pytest.mark.parametrize("what", row(["process", "daemon", "deaf", "program", "session"], often=["deaf", "session"]))
def test_what_a_handler_leaves_behind_ends_with_its_process(raw: Raw, fleet: Fleet, what: str) -> None:
    """However that ends; the worker goes on."""
    publish(raw, "leave", what=what, then="die")
    fleet.streams = {"orders": {"GROUPS": {"billing": {"MAX_CRASHES": 1}}}}
    worker = fleet.start(**HANDLERS)
    wait_until(lambda: totals(raw) == {"dead-lettered": 1})
    wait_until(lambda: not any(map(alive, pids(fleet, "left"))))
    assert len(pids(fleet, "left")) >= 2
    raw.xadd("orders", {"do": "ok"})
    wait_until(lambda: totals(raw).get("acknowledged") == 1)
    worker.terminate()
    fleet.finish(worker)


def test_what_a_handler_leaves_behind_ends_at_its_timeout(raw: Raw, fleet: Fleet) -> None:
    """Where the process is killed for it."""
    publish(raw, "leave", what="program", then="stay")
    fleet.streams = {"orders": {"GROUPS": {"billing": {"TIMEOUT": 0.5, "MAX_RETRIES": 0}}}}
    worker = fleet.start("--shutdown-timeout", "2", **HANDLERS)
    wait_until(lambda: totals(raw) == {"dead-lettered": 1})
    wait_until(lambda: not any(map(alive, pids(fleet, "left"))))
    worker.terminate()
    fleet.finish(worker)


def test_what_a_handler_leaves_behind_ends_with_a_process_whose_supervisor_was_killed(raw: Raw, fleet: Fleet) -> None:
    """The process itself sees to it, as far as it is the parent."""
    publish(raw, "leave", what="program", then="return")
    worker = fleet.start(**HANDLERS)
    wait_until(lambda: totals(raw) == {"acknowledged": 1})
    worker.kill()
    wait_until(lambda: not any(map(alive, pids(fleet, "left"))))


def test_what_lives_already_when_the_worker_begins_lives_on(raw: Raw, fleet: Fleet) -> None:
    """A program that a handlers' module started when it was imported is no handler's."""
    worker = fleet.start(TEST_HANDLERS="tests.support.forking_handlers tests.support.starting_handlers")
    raw.xadd("orders", {"do": "die"})
    wait_until(lambda: totals(raw) == {"dead-lettered": 1})
    (started,) = pids(fleet, "started")
    assert alive(started)
    worker.terminate()
    fleet.finish(worker)
    assert alive(started)
    os.kill(started, signal.SIGKILL)


def test_what_comes_before_its_process_is_seen_to_end_is_no_less_left_behind() -> None:
    """A look between the end of a process and the moment when it is waited for doesn't take that for detached."""
    program = """
import os, signal, subprocess, time
import django
django.setup()
from django_redis_streams.worker.system import leftovers
from django_redis_streams.worker.system.leftovers import Leftovers

found = Leftovers()
found.adopt()
reading, writing = os.pipe()
own = os.fork()
if not own:
    os.write(writing, str(subprocess.Popen(["sleep", "600"]).pid).encode())
    signal.pause()
left = int(os.read(reading, 20))
os.kill(own, signal.SIGKILL)
while left not in leftovers._children():
    time.sleep(0.001)
found.look([own])
assert not found.any
os.waitpid(own, 0)
found.ended(own, [], was_own=True)
assert found.any
assert os.waitstatus_to_exitcode(os.waitpid(left, 0)[1]) == -signal.SIGTERM
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, timeout=30)


def test_what_detaches_itself_lives_as_long_as_the_worker(raw: Raw, fleet: Fleet) -> None:
    """It is ended with the whole of it: the end of another process is no reason."""
    publish(raw, "leave", what="orphan", then="return")
    worker = fleet.start(**HANDLERS)
    (left,) = wait_until(lambda: set(pids(fleet, "left")))
    before = waits(worker.pid)
    wait_until(lambda: waits(worker.pid) >= before + 3, "the supervisor has looked at its children")
    raw.xadd("orders", {"do": "die"})
    wait_until(lambda: totals(raw) == {"acknowledged": 1, "dead-lettered": 1})
    assert alive(left)
    worker.terminate()
    fleet.finish(worker)
    assert not alive(left)


def test_a_server_that_opens_and_closes_files_is_known_at_each_moment(tmp_path: Path) -> None:
    """As it does for each line of its log, above all when it starts: it is never taken for a handler's."""
    code = "import os\nopen('ready', 'w')\nwhile True: [os.close(each) for each in [os.dup(0) for _ in range(9)]]"
    with (tmp_path / SERVER_LOCK).open("w") as lock:
        server = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, pass_fds=[lock.fileno()])
    try:
        wait_until((tmp_path / "ready").exists)
        assert all(serves(server.pid) for _ in range(2_000))
    finally:
        server.kill()
        server.wait()


def test_an_embedded_server_that_a_worker_started_is_no_leftover(base: Path, tmp_path: Path) -> None:
    """It is there for others too, as is its guardian; they end by themselves when its last user has left."""
    url = f"embedded://{base}"
    fleet = Fleet(tmp_path, url)
    try:
        worker = fleet.start(**HANDLERS)
        with override_settings(REDIS_STREAMS={"CONNECTIONS": {"default": {"URL": url}}, "STREAMS": fleet.streams}):
            pid_file = base / "valkey.pid"
            # The server makes the file before it writes.
            server = int(wait_until(lambda: pid_file.exists() and pid_file.read_text()))
            connections.get().call("XADD", "orders", "*", "do", "die")
            wait_until(lambda: connections.get().call("HGET", "{orders}:totals:billing", "dead-lettered") == "1")
            worker.terminate()
            assert "left running" not in fleet.finish(worker)
            assert alive(server)
            assert connections.get().call("PING") == "PONG"
            assert int(pid_file.read_text()) == server
    finally:
        fleet.end()
