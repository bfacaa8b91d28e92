"""The supervisor: it ends its processes, replaces those that die, and is missed by them when it is gone."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams import conf
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.worker.supervisor.child import Orphans
from django_redis_streams.worker.supervisor.rescues import Rescues
from django_redis_streams.worker.system.forking import ended_how

from .support.books import books, totals
from .support.waiting import wait_until
from .support.workers import ROOT, Fleet, waiting_reads

Raw = Any
BATCH = 5


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def consuming(raw: Raw, count: int = 1) -> bool:
    """Whether so many consumers wait for messages."""
    return waiting_reads(raw) == count


def other_reader(raw: Raw, fleet: Fleet, worker: subprocess.Popen[str], before: int) -> int:
    """The worker's only child, once it waits for messages, where that is another than before; else 0."""
    children = fleet.children(worker)
    raw.ping()  # What the child before has left open is closed by the time that the server answers again.
    if len(children) == 1 and children != [before] and consuming(raw) and fleet.children(worker) == children:
        return children[0]
    return 0


@pytest.fixture
def busy(raw: Raw, fleet: Fleet, tmp_path: Path) -> tuple[subprocess.Popen[str], Path]:
    """A worker in the midst of the first of five messages, which ends when the path exists."""
    finish = tmp_path / "finish"
    pipeline = raw.pipeline()
    for do in [f"wait:{finish}", *["ok"] * (BATCH - 1)]:
        pipeline.xadd("orders", {"do": do})
    pipeline.execute()
    worker = fleet.start("--shutdown-timeout", "60")
    wait_until(lambda: fleet.noted("began"))
    return worker, finish


def assert_handed_back(raw: Raw, count: int) -> None:
    """So many are claimable by anybody, now, as if they had never been delivered."""
    pending = raw.xpending_range("orders", "billing", "-", "+", 10)
    assert [(each["consumer"], each["times_delivered"]) for each in pending] == [("returned", 0)] * count
    assert all(each["time_since_delivered"] >= 60_000 for each in pending)


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_stops_at_once(raw: Raw, fleet: Fleet, number: signal.Signals) -> None:
    """Long before its read for a message is over, and it leaves nothing; a terminal signals all of its processes."""
    worker = fleet.start("--processes", "2", TEST_BLOCK="50")
    wait_until(lambda: consuming(raw, 2))
    os.killpg(worker.pid, number)
    assert "Traceback" not in fleet.finish(worker, deadline=20)
    assert {each["name"] for each in raw.xinfo_consumers("orders", "billing")} <= {"returned"}


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_busy_worker_finishes_what_it_runs_and_hands_back_the_rest(
    raw: Raw, fleet: Fleet, busy: Any, number: signal.Signals
) -> None:
    """The message that is being run is acknowledged; the others are run once, by the next worker, without a wait."""
    worker, finish = busy
    os.killpg(worker.pid, number)
    fleet.stops_amid_work(worker)
    finish.touch()
    fleet.finish(worker)
    assert totals(raw) == {"acknowledged": 1}
    assert_handed_back(raw, BATCH - 1)
    fleet.drain()
    assert books(raw).acknowledged == BATCH
    assert len(fleet.noted("began")) == BATCH


def test_a_second_signal_ends_a_busy_worker_now(raw: Raw, fleet: Fleet, busy: Any) -> None:
    """What it was running is handed back too, and the exit code tells that it didn't end well."""
    worker, _ = busy
    worker.terminate()
    fleet.stops_amid_work(worker)
    worker.terminate()
    assert "didn't end well" in fleet.finish(worker, deadline=20, code=1)
    assert_handed_back(raw, BATCH)


def test_a_handler_that_takes_too_long_at_a_stop_is_ended(raw: Raw, fleet: Fleet) -> None:
    """After --shutdown-timeout its process is killed, and what it held is handed back."""
    raw.xadd("orders", {"do": "sleep:60"})
    worker = fleet.start("--shutdown-timeout", "0.3")
    wait_until(lambda: fleet.noted("began"))
    worker.terminate()
    said = fleet.finish(worker, code=1)
    assert said.count("didn't finish within --shutdown-timeout") == 1
    assert_handed_back(raw, 1)


# ---------------------------------------------------------------- processes that die


def test_a_process_that_dies_is_replaced_ever_later_until_a_message_is_settled(raw: Raw, fleet: Fleet) -> None:
    """So a worker that dies at its start doesn't spin, and one that works is replaced at once."""
    worker, own = fleet.start(), 0
    for _ in range(3):
        own = wait_until(lambda own=own: other_reader(raw, fleet, worker, own))
        os.kill(own, signal.SIGKILL)
    own = wait_until(lambda: other_reader(raw, fleet, worker, own))
    for count in (1, 2):
        # When the second is settled, the worker has seen that the first is.
        raw.xadd("orders", {"do": "ok"})
        wait_until(lambda count=count: totals(raw) == {"acknowledged": count})
    os.kill(own, signal.SIGKILL)
    wait_until(lambda: other_reader(raw, fleet, worker, own))
    worker.terminate()
    waits = [float(each) for each in re.findall(r"SIGKILL\. Another starts in ([\d.]+) s", fleet.finish(worker))]
    first, second, third, last = waits
    # About 0.1, 0.2 and 0.4 seconds, each a quarter more or less, told to a tenth.
    assert first <= second < third
    assert last == first


@pytest.mark.parametrize(
    "do", ["die-once:{}", "exit-hard-once:{}:0", pytest.param("exit-hard-once:{}:1", marks=pytest.mark.slow)]
)
def test_what_a_dead_process_held_is_handed_back_at_once(raw: Raw, fleet: Fleet, tmp_path: Path, do: str) -> None:
    """However it died, nobody waits for CLAIM_IDLE: the next process claims it, and the others are settled."""
    pipeline = raw.pipeline()
    deadly = do.format(tmp_path / "died")
    for each in ["ok", "ok", deadly, "ok", "ok"]:
        pipeline.xadd("orders", {"do": each})
    pipeline.execute()
    worker = fleet.start()
    wait_until(lambda: totals(raw) == {"acknowledged": 5}, deadline=120)
    assert len([each for each in fleet.noted("began") if each[2] == deadly]) == 2
    wait_until(lambda: consuming(raw))
    worker.terminate()
    said = fleet.finish(worker)
    (dead,) = re.findall(r"Process (\d+) .*Its messages are to be handed back", said)
    line = rf"^\S+ \S+ WARNING orders:billing: \d+ messages that process {dead} held were handed back\.$"
    assert re.search(line, said, re.MULTILINE), said


@pytest.mark.parametrize(
    ("code", "how"),
    [(-11, "was ended by SIGSEGV"), (-signal.SIGRTMIN - 3, "was ended by signal 37"), (3, "ended with exit code 3")],
)
def test_how_a_process_ended_is_told(code: int, how: str) -> None:
    """Also where the signal has no name, as most of the real-time ones: the supervisor outlives that."""
    assert ended_how(code) == how


def test_a_warden_that_fails_is_not_tried_again_at_once() -> None:
    """A rescuer tries until it is done; one that fails all the same is started again after a wait."""
    rescues = Rescues()
    rescues.add([Orphans(Membership(conf.stream("orders"), conf.group("orders", "billing"), "dead"), 1)])
    rescue = rescues.owed.pop()
    rescues._at_work[1] = rescue
    assert rescues.ended(1, 1, retry=True)
    rescues.start()
    assert rescues.owed == [rescue]
    assert rescues._at_work == {}


def test_processes_whose_supervisor_is_killed_drain_and_end(raw: Raw, fleet: Fleet, busy: Any) -> None:
    """They finish what they run, hand back the rest, and don't stay behind."""
    worker, finish = busy
    (own,) = fleet.children(worker)
    worker.kill()
    worker.wait()
    fleet.line_with(worker, " stops, and waits")
    finish.touch()
    wait_until(lambda: not alive(own))
    assert len(fleet.noted("began")) == 1
    assert totals(raw) == {"acknowledged": 1}
    assert_handed_back(raw, BATCH - 1)


def test_a_signal_between_fork_and_handler_is_not_lost() -> None:
    """A process that is told to stop before it has done anything stops, cleanly."""
    program = """
import os, signal
from django_redis_streams.worker.system.os_signals import Signals
from django_redis_streams.worker.supervisor.rescues import Rescues
from django_redis_streams.worker.system.forking import NOTED, forked

def work():
    with Signals(signal.SIGTERM) as signals:
        return 0 if signals.wait(10) == [signal.SIGTERM] else 1

with Signals(*NOTED):
    for _ in range(100):
        pid = forked(work)
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, timeout=50)


def test_a_signal_to_a_process_that_ends_does_not_cut_that_short() -> None:
    """It has left its handler behind, and still does what each child does at its end: it ends well, and is told so."""
    program = """
import atexit, os, signal
from django_redis_streams.worker.system.os_signals import Signals
from django_redis_streams.worker.system.forking import NOTED, forked

def work():
    atexit.register(os.kill, os.getpid(), signal.SIGTERM)
    with Signals(signal.SIGTERM):
        return 0

with Signals(*NOTED):
    _, status = os.waitpid(forked(work), 0)
assert status == 0, status
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, timeout=50)
