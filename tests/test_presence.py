"""Which workers are there: each process says so itself, so that nobody has to guess it from idle times."""

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams import conf, connections, inspection
from django_redis_streams.handlers import handler
from django_redis_streams.inspection import ConsumerState, RunningHandler, WorkerProcess
from django_redis_streams.message import Message
from django_redis_streams.store.consume.presence import ProcessRecord, RunRecord, present_command
from django_redis_streams.store.scripts import run
from django_redis_streams.worker.timing import Timing

from .support import states
from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import Fleet, Worker, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
OFTEN = Timing(serve=0.05)
RECORDS = "{orders}:processes:records"
WORKERS = "{orders}:workers:billing"


def alive(group: str = "billing") -> int:
    """How many consumers of the group are alive; -1 where two faces disagree, as while one begins."""
    (stream,) = inspection.overview("orders").streams
    (found,) = [each.consumers for each in stream.groups if each.name == group]
    return found if found == sum(each.alive for each in inspection.consumers("orders", group)) else -1


def consumer(name: str) -> ConsumerState:
    """One consumer of billing."""
    (found,) = [each for each in inspection.consumers("orders", "billing") if each.name == name]
    return found


def processes() -> list[WorkerProcess]:
    """The living processes."""
    found = inspection.workers()
    assert found.problems == []
    return list(found.processes)


def runs() -> list[RunningHandler]:
    """What they run."""
    return [run for each in processes() for run in each.runs]


def said(ms_ago: int = 0, *, clock_ahead: int = 0, name: str = "p", **of_record: Any) -> None:
    """A process said so many ms ago that it is there."""
    stream = conf.stream("orders")
    fields: dict[str, Any] = {
        "host": "h", "pid": 1, "ms": 60_000, "memory": 1, "quarantine": False, "lanes": stream.lane_names,
        "groups": {"billing": 1}, "runs": [],
    }  # fmt: skip
    record = ProcessRecord(**{**fields, **of_record})
    link = connections.get()
    seconds, microseconds = link.call("TIME")
    now = int(seconds) * 1000 + int(microseconds) // 1000
    run(link, present_command(stream, name, now + clock_ahead, record, {"billing": [f"{name}-0"]}))
    if ms_ago:
        link.call("ZADD", stream.keys.processes, now - ms_ago, name)
        link.call("ZADD", stream.keys.workers("billing"), now - ms_ago, f"{name}-0")


@pytest.fixture
def waiting_handler() -> Iterator[Callable[[], None]]:
    """A handler of billing that waits until this is called."""
    goes_on = threading.Event()

    @handler("orders", group="billing", timeout=600)
    def wait(message: Message) -> None:
        goes_on.wait(30)

    yield goes_on.set
    goes_on.set()


# ---------------------------------------------------------------- who is there


@pytest.mark.parametrize("kind", ["redis-6.2", "redis-7.0", "valkey"])
def test_an_idle_worker_is_alive_from_its_start(
    make_server: Callable[..., Server], streams: Callable[..., None], kind: str
) -> None:
    """Also on a server that doesn't know a consumer that was given nothing."""
    server = make_server(kind)
    streams(URL=server.url)
    handler("orders", group="billing")(lambda _: None)
    with working(name="web-7") as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        assert alive() == 1
        wait_until(processes)
        assert consumer("web-7").of_worker
        assert consumer("web-7").pending == 0
    assert (alive(), processes()) == (0, [])


def test_a_process_says_who_it_is(raw: Raw) -> None:
    """Host, pid, since when it is there, its memory, and what it serves."""
    handler("orders", group="billing")(lambda _: None)
    with working(name="web-7"):
        (found,) = wait_until(processes)
        assert (found.name, found.host, found.pid) == ("web-7", socket.gethostname(), os.getpid())
        assert [(each.label, each.lanes, each.consumers) for each in found.serves] == [
            ("orders:billing", ["default"], 1)
        ]
        assert (found.runs, found.runs_more, found.quarantine) == ([], 0, False)
        assert abs(found.started.timestamp() - time.time()) < 20
        assert abs(found.clock_ahead) < 2
        assert found.memory > 1_000_000
        assert found.heard < 15


def test_all_streams_and_consumers_of_a_process_are_one_row(fleet: Fleet, raw: Raw, streams: Any) -> None:
    """However many streams it serves; and it is gone from all of them at its clean end, at once."""
    fleet.streams = {"orders": {"GROUPS": {"billing": {}, "loyalty": {}}}, "tasks": {"GROUPS": {"all": {}}}}
    streams(fleet.streams)
    worker = fleet.start("--threads", "2")
    (found,) = wait_until(processes)
    wait_until(lambda: len(processes()[0].serves) == 3)
    assert sorted((each.label, each.consumers) for each in processes()[0].serves) == [
        ("orders:billing", 2), ("orders:loyalty", 2), ("tasks:all", 2),
    ]  # fmt: skip
    assert fleet.children(worker) == [found.pid]
    wait_until(lambda: [alive(group) for group in ("billing", "loyalty")] == [2, 2])
    worker.terminate()
    fleet.finish(worker)
    assert processes() == []
    assert [alive(group) for group in ("billing", "loyalty")] == [0, 0]
    assert not [key for key in raw.keys("*") if "processes" in key or "workers" in key]


def test_a_stream_that_is_named_twice_counts_once(raw: Raw) -> None:
    """Each consumer is told once."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    said()
    (found,) = inspection.workers("orders", "orders").processes
    assert [each.label for each in found.serves] == ["orders:billing"]
    assert len(inspection.overview("orders", "orders").streams) == 1


def test_what_a_worker_says_costs_a_script_for_each_stream(raw: Raw, streams: Any) -> None:
    """However many groups and consumers there are: the commands don't grow with them."""
    streams({"orders": {"GROUPS": {name: {} for name in ("billing", "loyalty", "mail")}}})
    handler("orders", group="billing")(lambda _: None)
    with working(timing=Timing(serve=30)) as worker:
        wait_until(lambda: worker.runner.connection.has_read and processes())
        (presence,) = [each for each in worker.services if type(each).__name__ == "Presence"]
        assert len(list(presence._commands())) == 1


@pytest.mark.slow
def test_a_worker_that_is_killed_is_gone_within_its_life(fleet: Fleet, raw: Raw, streams: Any) -> None:
    """With its supervisor, so that nobody looks after what it left; long before CLAIM_IDLE has passed."""
    fleet.streams = {"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 60}}}}
    streams(fleet.streams)
    worker = fleet.start()
    wait_until(lambda: processes() and alive() == 1)
    states.publish(raw, {"do": "nothing"})
    wait_until(lambda: raw.hget("{orders}:totals:billing", "acknowledged") == "1")
    os.killpg(worker.pid, signal.SIGKILL)
    (found,) = processes()
    os.kill(found.pid, signal.SIGKILL)
    wait_until(lambda: alive() == 0, deadline=17)
    wait_until(lambda: processes() == [], deadline=2)
    wait_until(lambda: not raw.exists(RECORDS), deadline=5)
    # Its name is still known as a worker's: the server has heard of it within CLAIM_IDLE.
    assert raw.xinfo_consumers("orders", "billing")[0]["idle"] < 60_000
    assert not consumer(f"{found.name}-0").alive


def test_what_is_said_counts_for_fifteen_seconds(raw: Raw) -> None:
    """Then a process is dead, and the next that says something removes what it said."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    raw.hset("{orders}:groups", "billing", "0")
    said(14_000)
    assert (alive(), [each.name for each in processes()]) == (1, ["p"])
    said(15_001)
    assert (alive(), processes()) == (0, [])
    said(name="q")
    assert raw.hkeys(RECORDS) == ["q"]
    assert raw.zrange(WORKERS, 0, -1) == ["p-0", "q-0"]


def test_what_dates_from_before_the_clock_went_back_counts_no_more(raw: Raw) -> None:
    """Else a dead worker would be alive until the clock is there again."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    raw.hset("{orders}:groups", "billing", "0")
    said(-3_600_000)
    assert (alive(), processes()) == (0, [])
    said(name="q")
    assert (raw.hkeys(RECORDS), raw.zrange(WORKERS, 0, -1)) == (["q"], ["q-0"])


def test_names_of_dead_consumers_are_forgotten_after_an_hour(raw: Raw) -> None:
    """There are only so many."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    raw.hset("{orders}:groups", "billing", "0")
    said(3_600_001)
    said(name="q")
    assert raw.zrange(WORKERS, 0, -1) == ["q-0"]
    assert 3_500 < raw.ttl(WORKERS) <= 3_600


def test_another_client_s_consumer_is_alive_by_its_reads(raw: Raw) -> None:
    """It says nothing of itself; beside a worker it counts too."""
    states.publish(raw, {"a": "1"})
    raw.xgroup_create("orders", "billing", "0")
    raw.xreadgroup("billing", "node-1", {"orders": ">"})
    assert (alive(), consumer("node-1").of_worker, consumer("node-1").alive) == (1, False, True)
    handler("orders", group="billing")(lambda _: None)
    with working(name="web-7") as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        assert alive() == 2


def test_what_others_write_where_workers_do_stops_nobody(raw: Raw) -> None:
    """No row is made of it."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    now = int(time.time() * 1000)
    said(name="q")
    clock, _, text = raw.hget(RECORDS, "q").partition(" ")
    good = json.loads(text)
    run = ["billing", "c", "orders/1-1", "f", 1, None, 1]
    wrong: list[dict[str, Any]] = [
        *({name: value} for name in good for value in ([[]], {"a": []}, -1, 1e400, 10**30, "x" * 5) if name != "host"),
        {"host": 1},
        {"more": 1},
        *({"runs": [[*run[:at], [], *run[at + 1 :]]]} for at in range(len(run))),
    ]
    texts = [json.dumps({**good, **each}) for each in wrong]
    texts += ["garbage", "[]", '{"runs": 1}', "{}", "{", "[" * 100_000]
    for number, each in enumerate([f"{clock} {each}" for each in texts] + [f"{each} {text}" for each in ("x", "--1")]):
        raw.zadd("{orders}:processes", {f"wrong-{number}": now})
        raw.hset(RECORDS, f"wrong-{number}", each)
    assert [each.name for each in processes()] == ["q"]


# ---------------------------------------------------------------- what it runs


def test_a_long_run_is_told_with_its_message_and_handler(raw: Raw, waiting_handler: Callable[[], None]) -> None:
    """And since when, of how many seconds: the consumer isn't silent."""
    with working(name="web-7", timing=OFTEN):
        assert runs() == []
        states.publish(raw, {"a": "1"})
        (found,) = wait_until(runs)
        (entry_id,) = [each for each, _ in raw.xrange("orders")]
        assert (found.stream, found.group, found.consumer) == ("orders", "billing", "web-7")
        assert (found.message, found.messages, found.timeout) == (f"orders/{entry_id}", 1, 600)
        assert found.handler.endswith("waiting_handler.<locals>.wait")
        wait_until(lambda: runs()[0].seconds > found.seconds)
        assert str(found) == f"{found.handler} runs {found.message} for {found.seconds:,.0f} s of TIMEOUT 600"
        waiting_handler()
        wait_until(lambda: runs() == [])


def test_a_batch_is_one_run(raw: Raw, streams: Any) -> None:
    """Of so many messages; without a TIMEOUT it says so."""
    streams({"orders": {"GROUPS": {"billing": {"TIMEOUT": None}}}})
    goes_on = threading.Event()

    @handler("orders", group="billing", batch=True)
    def wait(messages: list[Message]) -> None:
        goes_on.wait(30)

    states.publish(raw, *[{"a": "1"}] * 3)
    with working(timing=OFTEN):
        (found,) = wait_until(runs)
        assert (found.messages, found.timeout) == (3, None)
        assert "runs 3 messages from orders/" in str(found)
        assert "without a TIMEOUT" in str(found)
        goes_on.set()
        wait_until(lambda: runs() == [])


def test_coroutines_are_told_one_by_one_and_the_longest_only(raw: Raw, streams: Any) -> None:
    """What a process says has a bound, whatever it runs."""
    goes_on = threading.Event()

    @handler("orders", group="billing")
    async def wait(message: Message) -> None:
        await asyncio.to_thread(goes_on.wait, 30)

    states.publish(raw, *[{"a": "1"}] * 30)
    with working(timing=OFTEN):
        (found,) = wait_until(lambda: [each for each in processes() if each.runs_more])
        assert (len(found.runs), found.runs_more) == (20, 10)
        assert len({each.message for each in found.runs}) == 20
        goes_on.set()
        wait_until(lambda: runs() == [])


def test_what_a_process_says_has_a_bound() -> None:
    """Ids and names that are long are cut."""
    one = RunRecord("billing", "c", "m" * 10_000, "h" * 10_000, 1, None, 1)
    record = ProcessRecord("h", 1, 1, 1, quarantine=False, lanes=["default"], groups={}, runs=[one] * 1_000)
    text = record.to_json()
    assert len(text) < 12_000
    found = ProcessRecord.from_json(text)
    assert found is not None
    assert (len(found.runs), found.runs_more) == (20, 980)
    assert json.loads(text)["host"] == "h"


@pytest.mark.slow
def test_a_quarantine_serves_no_group(fleet: Fleet, raw: Raw, streams: Any, tmp_path: Path) -> None:
    """What it runs is told nevertheless."""
    fleet.streams = {"orders": {"GROUPS": {"billing": {}}}}
    streams(fleet.streams)
    states.publish(raw, {"do": f"die-then-wait:{tmp_path / 'died'}:{tmp_path / 'goes-on'}"})
    fleet.start()
    (found,) = wait_until(lambda: [each for each in processes() if each.quarantine and each.runs])
    assert found.serves == []
    assert found.runs[0].handler.endswith("run")
    (tmp_path / "goes-on").touch()


def test_a_process_whose_group_was_deleted_serves_it_no_more(raw: Raw) -> None:
    """Its consumer has ended."""
    handler("orders", group="billing")(lambda _: None)
    worker: Worker
    with working(name="web-7", timing=OFTEN) as worker:
        wait_until(lambda: processes() and processes()[0].serves)
        worker.runner.ended = True
        wait_until(lambda: processes()[0].serves == [])
