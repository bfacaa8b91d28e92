"""Which workers are there: each process says so itself, so that nobody has to guess it from idle times."""

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from django_redis_streams import conf, connections, inspection
from django_redis_streams.handlers import handler
from django_redis_streams.inspection import ConsumerState, RunningHandler, WorkerProcess
from django_redis_streams.message import Message
from django_redis_streams.operations import groups
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.presence import ProcessRecord, RunRecord, present_command
from django_redis_streams.store.scripts import run, script
from django_redis_streams.worker.consumer.batch_runner import BatchRunner
from django_redis_streams.worker.services import presence as service
from django_redis_streams.worker.services.presence import Presence
from django_redis_streams.worker.timing import DEFAULT_TIMING, Timing

from .support import states
from .support.servers import Server
from .support.waiting import undisturbed, wait_until
from .support.workers import Fleet, Worker, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
OFTEN = Timing(serve=0.05)
ALIVE = "{orders}:alive:"
PROCESSES = "{orders}:processes"
WORKERS = "{orders}:workers:billing"
LIFE = 15_000


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


def kept(raw: Raw) -> list[str]:
    """The names of the processes whose keys are there."""
    return sorted(key.removeprefix(ALIVE) for key in raw.keys(f"{ALIVE}*"))


def said(
    ms_ago: int = 0, *, clock_ahead: int = 0, name: str = "p", heard_ms_ago: int | None = None, **of_record: Any
) -> None:
    """A process said so many ms ago that it is there, what it serves and runs; then that it is there, or nothing."""
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
        heard_ms_ago = ms_ago if heard_ms_ago is None else heard_ms_ago
        link.call("PEXPIRE", stream.keys.alive(name), LIFE - heard_ms_ago)  # where that is over, it is gone at once
        link.call("ZADD", stream.keys.processes, now - ms_ago, name)
        link.call("ZADD", stream.keys.workers("billing"), now - ms_ago, f"{name}-0")


def of_process(name: str, *groups: str, timing: Timing = DEFAULT_TIMING) -> tuple[Presence, list[BatchRunner]]:
    """The service of a process that serves these groups of orders, which are made; a test takes its steps."""
    runners = [Worker(group=group, name=f"{name}-{number}").runner for number, group in enumerate(groups)]
    for each in runners:
        make_group(connections.get(), each.membership, "0")
    return Presence("default", threading.Event(), runners, timing, process=name), runners


def sent(raw: Raw, act: Callable[[], object]) -> Counter[str]:
    """The commands that it costs the server, those of scripts included, by their names."""
    raw.config_resetstat()
    act()
    counts = {name.removeprefix("cmdstat_"): each["calls"] for name, each in raw.info("commandstats").items()}
    return Counter({name: calls for name, calls in counts.items() if not name.startswith(("config", "info"))})


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
        assert abs(found.clock_ahead) < 20
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
    assert not [key for key in raw.keys("*") if "processes" in key or "workers" in key or "alive" in key]


def test_a_stream_that_is_named_twice_counts_once(raw: Raw) -> None:
    """Each consumer is told once."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    said()
    (found,) = inspection.workers("orders", "orders").processes
    assert [each.label for each in found.serves] == ["orders:billing"]
    assert len(inspection.overview("orders", "orders").streams) == 1


def test_what_a_worker_says_costs_a_script_for_each_stream(raw: Raw, streams: Any) -> None:
    """However many groups and consumers there are: the commands don't grow with them. Then one command keeps it up."""
    streams({"orders": {"GROUPS": {name: {} for name in ("billing", "loyalty", "mail")}}})
    presence, _ = of_process("web-7", "billing", "loyalty", "mail")
    connections.get().call("SCRIPT", "LOAD", script("present").source)
    assert sent(raw, presence.guarded_step)["evalsha"] == 1
    assert sent(raw, presence.guarded_step) == {"expire": 1}
    assert [alive(group) for group in ("billing", "loyalty", "mail")] == [1, 1, 1]


def test_all_is_said_anew_once_in_a_while(raw: Raw) -> None:
    """Also where nothing has changed: what was said is at most so old."""
    presence, _ = of_process("web-7", "billing", timing=Timing(serve_anew=0.3))

    def twice() -> Counter[str]:
        presence.connected()
        presence.guarded_step()
        return sent(raw, presence.guarded_step)

    assert undisturbed(twice, 0.3) == {"expire": 1}
    before = raw.zscore(PROCESSES, "web-7")
    wait_until(lambda: sent(raw, presence.guarded_step)["evalsha"])
    assert raw.zscore(PROCESSES, "web-7") >= before + 300


def test_a_change_of_the_memory_is_said_at_once(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """By more than a tenth."""
    presence, _ = of_process("web-7", "billing")
    for memory, shown in ((1_000, 1_000), (1_099, 1_000), (1_101, 1_101), (900, 900), (811, 900)):
        monkeypatch.setattr(service, "resident", lambda memory=memory: memory)
        presence.guarded_step()
        assert [each.memory for each in processes()] == [shown]


def test_a_change_of_a_worker_s_clock_is_said_at_once(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """By more than a second; the time that passes is none."""

    def shown() -> list[float]:
        presence, _ = of_process("web-7", "billing")
        found = []
        for ahead in (0, 0.8, 60, 60.5, -60):
            clock = SimpleNamespace(time=lambda ahead=ahead: time.time() + ahead, monotonic=time.monotonic)
            monkeypatch.setattr(service, "time", clock)
            presence.guarded_step()
            found += [each.clock_ahead for each in processes()]
        return found

    assert undisturbed(shown, 0.4) == pytest.approx([0, 0, 60, 60, -60], abs=0.4)


def test_what_the_server_forgot_is_said_anew_at_once(raw: Raw) -> None:
    """In the same step in which it turns out, to the stream that forgot it: a key expired too early, or was deleted."""
    presence, _ = of_process("web-7", "billing")
    presence.guarded_step()
    raw.delete(f"{ALIVE}web-7", PROCESSES, WORKERS)
    assert (alive(), processes()) == (0, [])
    presence.guarded_step()
    assert (alive(), [each.name for each in processes()]) == (1, ["web-7"])


def test_all_is_said_anew_over_a_new_connection(raw: Raw) -> None:
    """The server may be another, which has lost some."""
    presence, _ = of_process("web-7", "billing")
    presence.guarded_step()
    raw.delete(PROCESSES)
    presence.guarded_step()
    assert processes() == []
    presence.cut()
    for _ in ("finds the connection lost", "connects"):
        presence.guarded_step()
    assert [each.name for each in processes()] == ["web-7"]


def test_what_was_said_a_while_ago_ages_with_the_server_s_clock(raw: Raw) -> None:
    """Nobody is shown as younger than it is, nor as silent: its process said since that it is there."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    run = RunRecord("billing", "p-0", "m-1", "shop.charge", 10_000, 600, 1)

    def seen() -> tuple[WorkerProcess, float, int, ConsumerState]:
        said(50_000, heard_ms_ago=4_000, ms=60_000, runs=[run])
        (found,) = processes()
        return found, time.time(), alive(), consumer("p-0")

    found, now, count, of_consumer = undisturbed(seen, 2)
    assert 3.9 < found.heard < 6
    assert 109.9 < now - found.started.timestamp() < 112
    assert 59.9 < found.runs[0].seconds < 62
    assert (count, of_consumer.alive) == (1, True)
    assert 3.9 < of_consumer.idle < 6
    assert groups.waiting("orders", "billing").consumers == ["p-0"]


def test_a_consumer_is_alive_by_its_own_process(raw: Raw) -> None:
    """Not by another one whose name begins alike."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    for name, heard_ms_ago in (("web-1", 0), ("web", 20_000), ("web-1-1", 20_000), ("web-10", 20_000)):
        said(20_000, heard_ms_ago=heard_ms_ago, name=name)
    assert [each.name for each in inspection.consumers("orders", "billing") if each.alive] == ["web-1-0"]
    assert alive() == 1


def test_a_consumer_that_has_ended_is_not_alive_by_its_process(raw: Raw, streams: Any) -> None:
    """Where its process goes on for another group."""
    streams({"orders": {"GROUPS": {"billing": {}, "loyalty": {}}}})
    presence, (billing, _) = of_process("web-7", "billing", "loyalty")
    presence.guarded_step()
    assert [alive(group) for group in ("billing", "loyalty")] == [1, 1]
    billing.ended = True
    presence.guarded_step()
    assert [alive(group) for group in ("billing", "loyalty")] == [0, 1]


def test_a_process_that_stood_still_says_all_of_it(raw: Raw) -> None:
    """It counted as dead, and others have forgotten it."""
    presence, _ = of_process("web-7", "billing")
    presence.guarded_step()
    raw.pexpire(f"{ALIVE}web-7", 1)
    raw.zadd(PROCESSES, {"web-7": 0})
    raw.zadd(WORKERS, {"web-7-0": 0})
    wait_until(lambda: processes() == [])
    said(name="q")
    assert (raw.zrange(PROCESSES, 0, -1), raw.zrange(WORKERS, 0, -1)) == (["q"], ["q-0"])
    presence.guarded_step()
    assert (alive(), sorted(each.name for each in processes())) == (2, ["q", "web-7"])


@pytest.mark.parametrize("first", ["another", "itself"])
def test_a_living_process_counts_again_from_its_next_step_after_the_clock_went_back(raw: Raw, first: str) -> None:
    """Whoever speaks first: what it said itself, in a time to come, counts for nothing until then."""
    presence, _ = of_process("web-7", "billing")
    presence.guarded_step()
    later = float(raw.zscore(PROCESSES, "web-7")) + 3_600_000
    raw.pexpire(f"{ALIVE}web-7", 3_600_000 + LIFE)
    raw.zadd(PROCESSES, {"web-7": later})
    raw.zadd(WORKERS, {"web-7-0": later})
    assert (alive(), processes()) == (0, [])
    if first == "another":
        said(name="q")
        assert kept(raw) == ["q"]
    presence.guarded_step()
    assert "web-7" in [each.name for each in processes()]
    said(name="q")
    assert (alive(), sorted(each.name for each in processes())) == (2, ["q", "web-7"])


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
    wait_until(lambda: kept(raw) == [], deadline=5)
    # Its name is still known as a worker's: the server has heard of it within CLAIM_IDLE.
    assert raw.xinfo_consumers("orders", "billing")[0]["idle"] < 60_000
    assert not consumer(f"{found.name}-0").alive


def test_what_is_said_counts_for_fifteen_seconds(raw: Raw) -> None:
    """Then a process is dead, and all that it said of itself is gone."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    raw.hset("{orders}:groups", "billing", "0")

    def seen() -> tuple[int, list[str]]:
        said(14_000)
        return alive(), [each.name for each in processes()]

    assert undisturbed(seen, 1) == (1, ["p"])
    said(15_001)
    assert (alive(), processes()) == (0, [])
    said(name="q")
    assert kept(raw) == ["q"]
    assert raw.zrange(WORKERS, 0, -1) == ["p-0", "q-0"]


def test_what_dates_from_before_the_clock_went_back_counts_no_more(raw: Raw) -> None:
    """Else a dead worker would be alive until the clock is there again."""
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    raw.hset("{orders}:groups", "billing", "0")
    said(-3_600_000)
    assert (alive(), processes()) == (0, [])
    said(name="q")
    assert (kept(raw), raw.zrange(PROCESSES, 0, -1), raw.zrange(WORKERS, 0, -1)) == (["q"], ["q"], ["q-0"])


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
    clock, _, text = raw.get(f"{ALIVE}q").partition(" ")
    good = json.loads(text)
    run = ["billing", "c", "orders/1-1", "f", 1, None, 1]
    wrong: list[dict[str, Any]] = [
        *({name: value} for name in good for value in ([[]], {"a": []}, -1, 1e400, 10**30, "x" * 5) if name != "host"),
        {"host": 1},
        {"more": 1},
        *({"runs": [[*run[:at], [], *run[at + 1 :]]]} for at in range(len(run))),
    ]
    texts = [json.dumps({**good, **each}) for each in wrong]
    raw.zadd(PROCESSES, {"without-an-end": now})
    raw.set(f"{ALIVE}without-an-end", f"{clock} {text}")
    texts += ["garbage", "[]", '{"runs": 1}', "{}", "{", "[" * 100_000]
    for number, each in enumerate([f"{clock} {each}" for each in texts] + [f"{each} {text}" for each in ("x", "--1")]):
        raw.zadd(PROCESSES, {f"wrong-{number}": now})
        raw.set(f"{ALIVE}wrong-{number}", each, px=LIFE)
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
        (found,) = wait_until(lambda: [each for each in processes() if len(each.runs) + each.runs_more == 30])
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
        assert raw.zrange(WORKERS, 0, -1) == []
