"""Incidents on real servers with real workers: the doctor names the cause first, and its fix ends them.

Each incident is provoked. What is asked and done about it is what somebody on call has: `manage.py` in a process of its
own, with the commands that the finding prints.
"""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams import inspection, publish, publish_many
from django_redis_streams.diagnosis import Code, Level

from .support import states
from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import Fleet, own_clock

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("isolated_handlers")]

Finding = Mapping[str, str]
Streams = Callable[..., None]
Declare = Callable[..., None]
LABEL = "orders:billing"


@pytest.fixture
def declare(fleet: Fleet, streams: Streams) -> Declare:
    """Declares orders with group billing, for this process, for workers and for `manage.py`: with more keys of each."""

    def declare_orders(group: Mapping[str, Any] | None = None, **stream: Any) -> None:
        fleet.streams = {"orders": {"MAXLEN": 100, "GROUPS": {"billing": {**(group or {})}}, **stream}}
        streams(fleet.streams, URL=fleet.url)

    declare_orders()
    return declare_orders


def examined(fleet: Fleet) -> list[Finding]:
    """What the doctor finds, in its order: it exits with 1 where there is a fault, else with 0."""
    done = fleet.manage("streams", "doctor", "--json")
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)["findings"]
    assert done.returncode == int(any(each["level"] == Level.FAULT for each in found))
    return found


def named(fleet: Fleet, code: Code, subject: str = LABEL, *after: Code) -> Finding:
    """Wait until the doctor finds this and its consequences: it is the first of all findings. Return it."""

    def found() -> list[Finding]:
        told = examined(fleet)
        there = {each["code"] for each in told}
        return told if {code.value, *after} <= there else []

    first = wait_until(found, f"the finding {code.value}, and {', '.join(after) or 'no other'}")[0]
    assert (first["code"], first["subject"]) == (code.value, subject)
    return first


def is_over(fleet: Fleet, code: Code) -> None:
    """Wait until the doctor doesn't find it any more, nor any fault."""

    def over() -> bool:
        return not [each for each in examined(fleet) if each["code"] == code or each["level"] == Level.FAULT]

    wait_until(over, f"the end of {code.value}")


def commands(finding: Finding) -> list[list[str]]:
    """The commands that a fix prints, by their words."""
    return [each.split() for each in re.findall(r"manage\.py ((?:[\w:-]+ ?)+)", finding["fix"])]


def run(fleet: Fleet, words: list[str], *more: str) -> str:
    """Run a command as printed; `more` answers what it would ask at a terminal. Return what it writes."""
    done = fleet.manage(*words, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start(fleet: Fleet, words: list[str]) -> subprocess.Popen[str]:
    """Start a worker as printed."""
    assert words[0] == "runconsumers"
    return fleet.start(*words[1:])


def wait_ended(fleet: Fleet, count: int) -> None:
    """Wait until so many messages have been handled, each to its end."""
    wait_until(lambda: len({words[1] for words in fleet.noted("ended")}) == count, f"{count} handled messages")


def wait_handled(fleet: Fleet, count: int) -> None:
    """Wait until so many messages have been handled, each to its end, and all that was published is accounted for."""
    wait_ended(fleet, count)
    (books,) = [each for each in inspection.books("orders") if each.group == "billing"]
    assert books.missing in (0, None)  # Redis 6.2 doesn't tell


def wait_there(count: int = 1) -> None:
    """Wait until so many worker processes say that they are there."""
    wait_until(lambda: len(inspection.workers().processes) == count, f"{count} worker processes")


def end(fleet: Fleet, worker: "subprocess.Popen[str]") -> None:
    """Stop a worker cleanly."""
    worker.terminate()
    fleet.finish(worker)


def test_no_worker(fleet: Fleet, declare: Declare, raw: Any) -> None:
    """Messages wait, and delayed ones are overdue for the same reason."""
    publish_many("orders", [{"do": "nothing"}] * 3)
    let_be_overdue(raw, 2)
    found = named(fleet, Code.NO_CONSUMER, LABEL, Code.OVERDUE, Code.GROUP_MISSING)
    assert "No worker says that it serves the group" in found["evidence"]
    (worker,) = commands(found)
    start(fleet, worker)
    wait_handled(fleet, 5)
    is_over(fleet, Code.NO_CONSUMER)


def test_all_handlers_fail(fleet: Fleet, declare: Declare, tmp_path: Path) -> None:
    """What they depend on is away: each message is retried, and then dead-lettered."""
    declare({"MAX_RETRIES": 2, "BACKOFF": (0.01, 0.02)})
    back = tmp_path / "gateway"
    fleet.start(LABEL)
    publish_many("orders", [{"do": f"fail-until:{back}"}] * 30)
    wait_until(lambda: inspection.overview().streams[0].dead_letters == 30, "30 dead letters")
    found = named(fleet, Code.ALL_FAIL)
    assert found["evidence"].endswith("The newest error: RuntimeError: the gateway is down")
    pause, resume, replay = commands(found)
    run(fleet, pause)
    back.touch()
    run(fleet, resume)
    run(fleet, replay, "--no-input")
    wait_handled(fleet, 30)
    is_over(fleet, Code.ALL_FAIL)
    assert inspection.overview().streams[0].dead_letters == 0


def test_a_slow_handler(fleet: Fleet, declare: Declare, tmp_path: Path) -> None:
    """Messages pile up because of it."""
    declare(MAXLEN=10_000)
    quick = tmp_path / "quick"
    fleet.start(LABEL)
    publish_many("orders", [{"do": f"slow-until:{quick}"}] * 1_000)
    wait_until(lambda: fleet.noted("ended"), "a handled message")
    counted = inspection.overview().streams[0].groups[0].unread is not None  # Redis 6.2 can't tell how many wait
    found = named(fleet, Code.SLOW_HANDLERS, LABEL, *[Code.BEHIND] * counted)
    assert re.search(r"\d+ runs in the last hour, the longest 1\.\d s", found["evidence"])
    assert "Give what a handler waits for a time-out; more --processes and --threads" in found["fix"]
    fleet.start(LABEL, "--processes", "2", "--threads", "2")
    quick.touch()
    wait_handled(fleet, 1_000)
    is_over(fleet, Code.SLOW_HANDLERS)


@pytest.fixture
def dead(fleet: Fleet, declare: Declare, tmp_path: Path) -> Callable[[], int]:
    """A worker that was given 1,000 messages. Called, it is killed with all its processes; returns its child's id."""
    declare({"BATCH_SIZE": 1_000, "CLAIM_IDLE": 3}, MAXLEN=10_000)
    # A worker's first read is of five. How long a call for a batch takes doesn't count: the second is of all there are.
    publish_many("orders", [{"do": "ok"}] * 5, type="batched")
    publish_many("orders", [{"do": f"wait:{tmp_path / 'goes-on'}"}] * 1_000)
    worker = fleet.start(LABEL, "--threads", "1", TEST_HANDLERS="tests.faults.stopping")
    wait_until(lambda: inspection.overview().streams[0].groups[0].pending == 1_000, "1,000 pending")
    child = fleet.runner()

    def kill() -> int:
        os.killpg(worker.pid, signal.SIGKILL)
        return child

    return kill


def test_a_dead_worker_with_1_000_pending(fleet: Fleet, dead: Callable[[], int], tmp_path: Path) -> None:
    """No other is there: that is the cause, and it says who holds what waits."""
    name = f"{socket.gethostname()}-{dead()}-"
    found = named(fleet, Code.NO_CONSUMER, LABEL, Code.HELD_BY_DEAD)
    assert "0 unread, 1,000 pending" in found["message"]
    assert "the oldest pending is" in found["evidence"]
    assert "the oldest unread is" not in found["evidence"]
    (held,) = [each for each in examined(fleet) if each["code"] == Code.HELD_BY_DEAD]
    assert f"hold 1,000 messages: {name}" in held["message"]
    (tmp_path / "goes-on").touch()
    (worker,) = commands(found)
    start(fleet, worker)
    wait_handled(fleet, 1_005)
    is_over(fleet, Code.NO_CONSUMER)


def test_a_dead_worker_beside_a_busy_one(fleet: Fleet, dead: Callable[[], int], tmp_path: Path) -> None:
    """The living one claims nothing while a handler keeps it busy: what the dead one held is given to others."""
    fleet.start(LABEL, "--threads", "1")
    publish("orders", {"do": f"wait:{tmp_path / 'other-goes-on'}"})
    wait_until(lambda: len(fleet.noted("began")) == 7, "the other's run")
    dead()
    found = named(fleet, Code.HELD_BY_DEAD)
    (tmp_path / "goes-on").touch()
    worker, release = commands(found)
    run(fleet, release, "--no-input")
    start(fleet, worker)
    wait_handled(fleet, 1_005)
    is_over(fleet, Code.HELD_BY_DEAD)
    (tmp_path / "other-goes-on").touch()
    wait_handled(fleet, 1_006)


def test_a_paused_group(fleet: Fleet, declare: Declare) -> None:
    """It was forgotten, and the stream grows."""
    fleet.start(LABEL)
    wait_there()
    run(fleet, ["streams", "pause", LABEL])
    publish_many("orders", [{"do": "nothing"}] * 1_300)
    found = named(fleet, Code.PAUSED, LABEL, Code.LONGER_THAN_MAXLEN)
    (resume,) = commands(found)
    run(fleet, resume)
    wait_handled(fleet, 1_300)
    is_over(fleet, Code.PAUSED)
    is_over(fleet, Code.LONGER_THAN_MAXLEN)


def test_an_undeclared_group_that_pins_trimming(fleet: Fleet, declare: Declare, raw: Any) -> None:
    """Nobody reads it, and the stream grows."""
    fleet.start(LABEL)
    wait_there()
    publish_many("orders", [{"do": "nothing"}] * 1_300)
    raw.xgroup_create("orders", "retired", "0")
    found = named(fleet, Code.UNDECLARED_GROUP, "orders:retired", Code.LONGER_THAN_MAXLEN)
    assert "0 pending" in found["evidence"]
    (delete,) = commands(found)
    run(fleet, delete, "--no-input")
    wait_handled(fleet, 1_300)
    is_over(fleet, Code.UNDECLARED_GROUP)
    is_over(fleet, Code.LONGER_THAN_MAXLEN)


@pytest.mark.parametrize(
    ("policy", "deletes"), [("allkeys-lru", "whole streams"), ("volatile-lru", "keys with an expiry")]
)
def test_an_evicting_server(
    fleet: Fleet, declare: Declare, make_server: Callable[..., Server], policy: str, deletes: str
) -> None:
    """It is found before it happens, and once it has; then the policy is set as the fix says."""
    own = make_server(maxmemory_policy=policy)
    fleet.url = own.url
    declare()
    fleet.start(LABEL)
    publish_many("orders", [{"do": "nothing"}] * 3)
    wait_handled(fleet, 3)
    found = named(fleet, Code.EVICTS, "connection 'default'")
    assert f"may delete {deletes}" in found["message"]
    used = int(own.raw().info("memory")["used_memory"])
    own.raw().config_set("maxmemory", used + 2_000_000)
    for number in range(40):
        own.raw().set(f"cache:{number}", "x" * 100_000, ex=3_600)
    found = named(fleet, Code.EVICTED, "connection 'default'")
    assert re.search(rf"maxmemory_policy:{policy}, evicted_keys:[1-9]", found["evidence"])
    assert "maxmemory-policy to noeviction" in found["fix"]
    own.raw().config_set("maxmemory-policy", "noeviction")
    own.raw().delete(*own.raw().keys("cache:*"))
    publish_many("orders", [{"do": "nothing"}] * 4)
    wait_ended(fleet, 7)  # the books may be among what the server deleted
    is_over(fleet, Code.EVICTED)


def test_growing_dead_letters(fleet: Fleet, declare: Declare, tmp_path: Path) -> None:
    """Some messages are refused by their handler, others are well."""
    known = tmp_path / "article"
    fleet.start(LABEL)
    publish_many("orders", [*[{"do": f"reject-until:{known}"}] * 30, *[{"do": "nothing"}] * 60])
    found = named(fleet, Code.DEAD_LETTERS_GROW, LABEL, Code.DEAD_LETTERS)
    assert "30 of 90 " in found["evidence"]
    assert found["evidence"].endswith("The newest error: no such article")
    show, replay = commands(found)
    assert run(fleet, show).count("no such article") == 30
    known.touch()
    run(fleet, replay, "--no-input")
    wait_handled(fleet, 90)
    is_over(fleet, Code.DEAD_LETTERS_GROW)
    is_over(fleet, Code.DEAD_LETTERS)


def let_be_overdue(raw: Any, count: int) -> None:
    """Publish so many delayed messages whose time came a minute ago: none has to be waited for."""
    publish_many("orders", [{"do": "nothing"}] * count, delay=60)
    for member in raw.zrange("{orders}:delayed", 0, -1):
        raw.zadd("{orders}:delayed", {member: (raw.time()[0] - 60) * 1_000})


def test_overdue_delayed_messages(fleet: Fleet, declare: Declare, raw: Any) -> None:
    """All else is handled, so nothing but these waits for a worker."""
    publish("orders", {"do": "nothing"})
    fleet.drain()
    let_be_overdue(raw, 3)
    states.forget_consumers(raw)
    found = named(fleet, Code.OVERDUE, "orders")
    assert "3 delayed messages" in found["evidence"]
    (worker,) = commands(found)
    start(fleet, worker)
    wait_handled(fleet, 4)
    is_over(fleet, Code.OVERDUE)


def test_a_lane_without_a_reader(fleet: Fleet, declare: Declare) -> None:
    """The worker was started before the lane was declared."""
    worker = fleet.start(LABEL)
    wait_there()
    declare(LANES=["high", "default"])
    publish("orders", {"do": "nothing"}, lane="high")
    publish("orders", {"do": "nothing"})
    found = named(fleet, Code.UNSERVED_LANE)
    assert "No worker reads lane high" in found["message"]
    assert "say that they read default" in found["evidence"]
    assert found["fix"] == "Restart the group's workers with these settings."
    end(fleet, worker)
    fleet.start(LABEL)
    wait_handled(fleet, 2)
    is_over(fleet, Code.UNSERVED_LANE)


def test_a_worker_whose_clock_is_ten_minutes_off(fleet: Fleet, declare: Declare) -> None:
    """It handles messages all the same; with the host's time it is in order."""
    worker = fleet.start(LABEL, **own_clock("+600"))
    publish("orders", {"do": "nothing"})
    found = named(fleet, Code.WORKER_CLOCK_DIFFERS, "connection 'default'")
    (pid,) = fleet.children(worker)
    assert re.search(rf"{re.escape(socket.gethostname())}, pid {pid}: (600|5[5-9]\d) s more\.", found["evidence"])
    assert found["fix"] == "Have the workers' hosts keep time by NTP."
    end(fleet, worker)
    fleet.start(LABEL)
    publish("orders", {"do": "nothing"})
    wait_handled(fleet, 2)
    is_over(fleet, Code.WORKER_CLOCK_DIFFERS)
