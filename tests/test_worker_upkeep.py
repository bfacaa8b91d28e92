"""What a worker does beside handling: promote, claim, tidy up, and otherwise next to nothing."""

import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams import conf, connections
from django_redis_streams.exceptions import Retry
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.store.consume.clock import server_time
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.store.consume.ownership import hand_back
from django_redis_streams.worker.services import maintenance
from django_redis_streams.worker.services.promoter import Promoter
from django_redis_streams.worker.timing import DEFAULT_TIMING, Backoff, Timing

from .support import states
from .support.books import totals
from .support.waiting import wait_until
from .support.workers import HASTY, Fleet, Worker, waiting_reads, working

Raw = Any


@pytest.fixture
def runs(isolated_handlers: None, streams: Callable[..., None]) -> Counter[str]:
    """Counts the runs of each message of billing, which is run at once."""
    counted: Counter[str] = Counter()
    handler("orders", group="billing")(lambda message: counted.update([message.payload["n"]]))
    return counted


def publish(raw: Raw, count: int) -> None:
    """So many messages, numbered."""
    pipeline = raw.pipeline()
    for n in range(count):
        pipeline.xadd("orders", {"n": n})
    pipeline.execute()


def later(group: str) -> None:
    """A handler that asks for each message's retry at once."""

    @handler("orders", group=group)
    def run(message: Message) -> None:
        if message.attempt == 1:
            raise Retry(delay=0)


@pytest.mark.usefixtures("isolated_handlers", "streams")
def test_one_promoter_serves_all_groups_of_its_stream(raw: Raw) -> None:
    """Those of workers that are elsewhere too, and one whose retries can't be moved holds up no other."""
    for group in ("billing", "loyalty"):
        later(group)
    publish(raw, 250)
    elsewhere = Worker(group="loyalty")
    elsewhere.services = []
    elsewhere.start()
    wait_until(lambda: totals(raw, "loyalty") == {"retried": 250})
    raw.lpush("{orders}:retry:analytics", "of a wrong type")
    with working(group="billing"):
        wait_until(lambda: totals(raw, "billing") == totals(raw, "loyalty") == {"retried": 250, "acknowledged": 250})
    elsewhere.end()


@pytest.mark.usefixtures("streams")
def test_who_may_not_promote_looks_with_one_command(raw: Raw) -> None:
    """So do a hundred idle workers, whatever there is to promote; and with a few, where there is nothing."""
    raw.set("{orders}:promoter", "another 1", px=6_000)
    idle = Promoter("default", threading.Event(), [conf.stream("orders")], Timing(look_for_lease=60))
    idle.guarded_step()
    assert looked(raw, idle) == {"pttl": 1}
    raw.delete("{orders}:promoter")
    assert looked(raw, idle)["evalsha"] == 1  # once, for the clock
    assert looked(raw, idle) == {"pttl": 1, "exists": 1, "time": 1}
    states.delay(1, seconds=600)
    assert looked(raw, idle)["evalsha"] == looked(raw, idle)["evalsha"] == 1
    # It finds out by the script that it lost the lease, and looks as the others do from then on.
    raw.set("{orders}:promoter", "another 1", px=6_000)
    assert looked(raw, idle)["evalsha"] == 1
    assert looked(raw, idle) == {"pttl": 1}


@pytest.mark.usefixtures("streams")
def test_one_of_all_idle_processes_records_the_clock(raw: Raw) -> None:
    """The others see that it was done lately, and do it where it wasn't, or where the clock has gone back."""
    first, second = (Promoter("default", threading.Event(), [conf.stream("orders")], Timing()) for _ in range(2))
    assert looked(raw, first)["evalsha"] == 1
    assert looked(raw, second)["evalsha"] == 0
    shown, at = second._seen["orders"]
    recorded = int(raw.hget("{orders}:clock", "seen"))
    assert abs(shown - recorded) < 20_000
    for off, runs in ((-20_000, False), (-40_000, True), (20_000, True)):
        second._seen["orders"] = shown - 100_000, at - 100
        raw.hset("{orders}:clock", "seen", recorded + off)
        assert bool(looked(raw, second)["evalsha"]) is runs, off
        assert second._seen["orders"][1] > at
        raw.delete("{orders}:promoter")
        second._held.clear()


def looked(raw: Raw, promoter: Promoter) -> Counter[str]:
    """How often each command was given at a promoter's next look."""
    promoter._look_at["orders"] = 0
    before = calls(raw)
    promoter.guarded_step()
    return calls(raw) - before - Counter({"info": 1})


@pytest.mark.usefixtures("isolated_handlers")
@pytest.mark.parametrize(
    ("claim_idle", "own", "others", "seconds", "ahead"),
    [
        (60, 1, 0, 0.5, 10),
        (60, 1, 3, 0.5, 10),
        (60, 1, 7, 1, 20),
        (60, 8, 0, 0.5, 10),
        (60, 2, 98, 2, 30),
        (600, 2, 98, 2, 30),
        (4, 1, 99, 1, 2),
        (0.1, 1, 99, 0.5, 0.5),
    ],
)
def test_the_more_workers_look_for_what_to_claim_the_less_often_each_does(  # noqa: PLR0917  its cases
    raw: Raw, streams: Any, claim_idle: float, own: int, others: int, seconds: float, ahead: float
) -> None:
    """Yet all of them together more often than one would, and each within two seconds and a quarter of CLAIM_IDLE.

    Where nothing is nearly stale, each looks again when something may be. Those that were given nothing yet count, too,
    also on a server before 7.2, which doesn't know them.
    """
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": claim_idle}}}})
    workers = [Worker(name=f"own-{n}") for n in range(own)]
    for name in (*(f"own-{n}" for n in range(own)), *(f"other-{n}" for n in range(others))):
        make_group(connections.get(), Membership(conf.stream("orders"), conf.group("orders", "billing"), name), "0")
    looks = upkeep(*workers)
    looks.guarded_step()
    (look,) = looks.groups
    assert look.wait == pytest.approx(ahead)
    hold(raw, idle=claim_idle)
    look_anew(looks)
    assert look.wait == pytest.approx(seconds)


def test_processes_that_died_minutes_ago_share_nothing_any_more(raw: Raw, streams: Any) -> None:
    """Who is left does all of the upkeep again, though their names are known for an hour."""
    streams({"orders": {"GROUPS": {"billing": {}}}})
    looks = upkeep(Worker(name="own"), timing=Timing(count_others=0.005, watch=0.005))
    make_group(connections.get(), Membership(conf.stream("orders"), conf.group("orders", "billing"), "own"), "0")
    (look,), now = looks.groups, server_time(connections.get())
    watch = looks._upkeep[0]._watch
    raw.zadd("{orders}:workers:billing", {f"other-{n}": now - 60_000 for n in range(99)})
    wait_until(lambda: looks.guarded_step() is not None and look.share == pytest.approx(0.04))
    wait_until(lambda: looks.guarded_step() is not None and watch._soon == pytest.approx(0.005 / 0.04))
    raw.zadd("{orders}:workers:billing", {f"other-{n}": now - 200_000 for n in range(99)})
    wait_until(lambda: looks.guarded_step() is not None and look.share == 1)


def upkeep(*workers: Worker, timing: Timing = DEFAULT_TIMING) -> maintenance.Maintenance:
    """The maintenance of a process with these workers' consumers, which runs step by step."""
    runners = [each.runner for each in workers]
    return maintenance.Maintenance("default", threading.Event(), runners, [conf.stream("orders")], timing)


def look_anew(looks: maintenance.Maintenance, group: str = "billing") -> None:
    """Have a group looked at, as soon as the last look is long enough ago."""
    (look,) = [each for each in looks.groups if each.membership.group.name == group]
    before = look.asked
    looks.hear("orders", group)
    wait_until(lambda: looks.guarded_step() is not None and look.asked > before)


def hold(raw: Raw, group: str = "billing", *, idle: float) -> None:
    """Have another consumer hold all that is there and one message more, idle for so many seconds."""
    raw.xadd("orders", {"n": 1})
    raw.xreadgroup(group, "holds", {"orders": ">"})
    for entry in raw.xpending_range("orders", group, "-", "+", 10):
        raw.xclaim("orders", group, "holds", 0, [entry["message_id"]], idle=round(idle * 1000), justid=True)


@pytest.mark.usefixtures("isolated_handlers")
def test_due_retries_of_a_group_that_is_no_more_declared_are_promoted(raw: Raw, streams: Any) -> None:
    """Another version of the project may know it: it is on record."""
    later("billing")
    later("former")
    streams({"orders": {"GROUPS": {"billing": {}, "former": {}}}})
    publish(raw, 3)
    former = Worker(group="former")
    former.services = []
    former.start()
    wait_until(lambda: totals(raw, "former") == {"retried": 3})
    streams({"orders": {"GROUPS": {"billing": {}}}})
    with working(group="billing"):
        wait_until(lambda: totals(raw, "former").get("acknowledged") == 3)
    former.end()


def test_very_much_that_was_handed_back_is_claimed_in_one_go(raw: Raw, runs: Counter[str]) -> None:
    """Batch after batch, without another look between two, and in among what is new."""
    gone = Membership(conf.stream("orders"), conf.group("orders", "billing"), "gone")
    link = connections.get()
    make_group(link, gone, "0")
    publish(raw, 500)
    raw.xreadgroup("billing", "gone", {"orders": ">"}, count=500)
    assert hand_back(link, gone)[0] == 500
    publish(raw, 500)
    with working(timing=Timing(look_stale=60)):
        wait_until(lambda: totals(raw) == {"acknowledged": 1_000})
    assert sum(runs.values()) == 1_000


def test_what_is_handed_back_wakes_a_worker_that_waits(raw: Raw, runs: Counter[str]) -> None:
    """It is run long before the worker's read would have ended."""
    gone = Membership(conf.stream("orders"), conf.group("orders", "billing"), "gone")
    link = connections.get()
    make_group(link, gone, "0")
    publish(raw, 1)
    raw.xreadgroup("billing", "gone", {"orders": ">"})
    with working(timing=Timing(block=60)):
        wait_until(lambda: waiting_reads(raw) == 1)
        hand_back(link, gone)
        wait_until(lambda: totals(raw) == {"acknowledged": 1})


def test_a_consumer_that_is_long_gone_and_holds_nothing_is_removed(raw: Raw, runs: Counter[str]) -> None:
    """One that holds something stays, and so does the name of what was handed back."""
    publish(raw, 1)
    raw.xgroup_create("orders", "billing", "0")
    raw.xreadgroup("billing", "holds something", {"orders": ">"})
    for name in ("holds nothing", "returned"):
        raw.xgroup_createconsumer("orders", "billing", name)
    with working(timing=replace(HASTY, retire=0, retire_after=0.3)):
        wait_until(lambda: "holds nothing" not in consumers(raw))
        assert consumers(raw) >= {"holds something", "returned"}


def consumers(raw: Raw) -> set[str]:
    """The names of the group's consumers."""
    return {each["name"] for each in raw.xinfo_consumers("orders", "billing")}


def test_an_idle_worker_costs_next_to_nothing(raw: Raw, fleet: Fleet) -> None:
    """Of the server a few dozen requests a second, of the machine a few hundredths of a processor."""
    worker = fleet.start(TEST_BLOCK="1")  # so that a turn takes a second
    wait_until(lambda: waiting_reads(raw) == 1)
    (own,) = fleet.children(worker)
    begun = calls(raw)
    wait_until(lambda: calls(raw)["xreadgroup"] > begun["xreadgroup"], "all that it does at first is done")
    before, ticks = calls(raw), processor(own)
    wait_until(lambda: calls(raw)["xreadgroup"] >= before["xreadgroup"] + 2)
    spent = calls(raw) - before
    turns = spent["xreadgroup"]
    assert sum(spent[each] for each in ("evalsha", "eval", "xpending", "hkeys", "xinfo", "client")) / turns < 45
    assert processor(own) - ticks < 0.15 * turns
    worker.terminate()
    fleet.finish(worker)


def calls(raw: Raw) -> Counter[str]:
    """How often each command was given, by anybody, in scripts too."""
    return Counter({name.removeprefix("cmdstat_"): row["calls"] for name, row in raw.info("commandstats").items()})


def processor(pid: int) -> float:
    """The seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_no_wait_between_two_tries_is_beyond_its_bounds() -> None:
    """Jitter included, which the docs promise."""
    backoff = Backoff(least=0.05, most=5.0)
    waits = [backoff.more() for _ in range(500)]
    assert min(waits) >= 0.05
    assert max(waits) <= 5.0
    assert len({round(each, 6) for each in waits[10:]}) > 400, "not all at the same moment"


def test_an_entry_that_is_deleted_while_its_handler_runs_counts_as_handled(
    raw: Raw, streams: Callable[..., None], isolated_handlers: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The heartbeat renews meanwhile; nothing is said to be lost."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 3}}}})
    began, finish = threading.Event(), threading.Event()

    @handler("orders", group="billing")
    def run(_: Message) -> None:
        began.set()
        assert finish.wait(20)

    publish(raw, 2)
    with working() as worker:
        assert began.wait(20)
        first, second = raw.xrange("orders")
        raw.xdel("orders", first[0])

        def idle() -> int:
            return raw.xpending_range("orders", "billing", second[0], second[0], 1)[0]["time_since_delivered"]

        wait_until(lambda: idle() > 500)
        wait_until(lambda: idle() < 500)
        finish.set()
        wait_until(lambda: totals(raw) == {"acknowledged": 2})
        wait_until(lambda: len(worker.runner.unacked) == 0)
    assert "deleted" not in caplog.text
