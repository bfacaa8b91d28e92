"""Deleting a group: refused while somebody consumes it, and obeyed by the workers that run."""

import io
import json
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_redis_streams import conf
from django_redis_streams.exceptions import GroupInUse
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.operations import groups
from django_redis_streams.store.consume import groups as store
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.worker.supervisor.child import Orphans, Suspect
from django_redis_streams.worker.supervisor.rescuer import rescue_all
from django_redis_streams.worker.timing import Timing

from .support import states
from .support.books import totals
from .support.waiting import wait_until
from .support.workers import Fleet, Worker, drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
LANES = {"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}}}}
LOYALTY = {"orders": {"GROUPS": {"loyalty": {}}}}


@pytest.fixture
def elsewhere(streams: Callable[..., None]) -> Callable[[], None]:
    """From now on this is a checkout that doesn't declare billing."""
    return lambda: streams(LOYALTY)


def publish(raw: Raw, *numbers: int) -> None:
    """Publish messages with these numbers."""
    for n in numbers:
        raw.xadd("orders", {"n": n})


def on_server(raw: Raw, key: str = "orders") -> set[str]:
    """The groups of a stream."""
    return {each["name"] for each in raw.xinfo_groups(key)} if raw.exists(key) else set()


def reading(worker: Worker) -> None:
    """Wait until it has read once."""
    wait_until(lambda: worker.runner.connection.has_read)


def delete(*words: str) -> str:
    """What the command says."""
    out = io.StringIO()
    call_command("streams", "groups", "delete", "orders:billing", *words, stdout=out)
    return out.getvalue()


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("paused", [False, True], ids=["reading", "paused"])
def test_a_group_that_a_worker_serves_is_not_deleted(
    raw: Raw, seen: list[str], elsewhere: Any, *, paused: bool
) -> None:
    """Also one that was given nothing yet, or whose group is paused; who it is is told."""
    if paused:
        groups.pause("orders", "billing", by="ann")
    with working(name="web-7") as worker:
        wait_until(lambda: worker.consumer._paused if paused else worker.runner.connection.has_read)
        elsewhere()
        with pytest.raises(GroupInUse, match="'web-7'"):
            groups.delete("orders", "billing", by="ann")
        with pytest.raises(CommandError, match="'web-7'") as refused:
            delete("--no-input")
        assert refused.value.returncode == 2
        assert "consumed by 1" in delete("--dry-run")
        assert "billing" in on_server(raw)
        if not paused:
            publish(raw, 1)
            wait_until(lambda: seen == ["1"])


def test_a_group_that_another_client_reads_is_not_deleted(raw: Raw, elsewhere: Any, monkeypatch: Any) -> None:
    """It is known by its reads; silent for long enough it is none any more."""
    publish(raw, 1)
    raw.xgroup_create("orders", "billing", "0")
    raw.xreadgroup("billing", "node-1", {"orders": ">"})
    elsewhere()
    with pytest.raises(GroupInUse, match="'node-1'"):
        groups.delete("orders", "billing", by="ann")
    assert raw.xpending("orders", "billing")["pending"] == 1
    monkeypatch.setattr(store, "HEARD_WITHIN", 0.0)
    wait_until(lambda: raw.xinfo_consumers("orders", "billing")[0]["idle"])
    assert groups.delete("orders", "billing", by="ann")
    assert on_server(raw) == set()


def test_a_group_that_is_declared_is_not_deleted(raw: Raw) -> None:
    """By the function as by the command: the next worker would make it anew."""
    drain_nothing()
    with pytest.raises(GroupInUse, match="is declared"):
        groups.delete("orders", "billing", by="ann")
    assert on_server(raw) == {"billing"}
    assert groups.delete("orders", "billing", by="ann", force=True)


def drain_nothing() -> None:
    """A worker has been there, and is gone."""
    handler("orders", group="billing")(lambda _: None)
    drain()


def test_a_worker_that_was_stopped_holds_up_nobody(raw: Raw, elsewhere: Any) -> None:
    """It takes its name back when it leaves."""
    drain_nothing()
    elsewhere()
    assert groups.waiting("orders", "billing").consumers == []
    assert groups.delete("orders", "billing", by="ann")
    assert on_server(raw) == set()


def test_a_group_that_another_deletes_meanwhile_is_told_of_as_gone(raw: Raw, elsewhere: Any, monkeypatch: Any) -> None:
    """The command doesn't claim to have done what another did."""
    drain_nothing()
    elsewhere()
    by_command = groups.delete

    def second(*args: Any, **options: Any) -> bool:
        by_command(*args, **options)
        return by_command(*args, **options)

    monkeypatch.setattr(groups, "delete", second)
    assert delete("--no-input") == "orders:billing is gone: another deleted it in the meantime.\n"
    groups.create("orders", "billing", "0", by="ann")
    assert json.loads(delete("--no-input", "--json"))["result"] == "missing"


def test_a_worker_that_is_killed_holds_up_nobody_for_long(raw: Raw, elsewhere: Any, monkeypatch: Any) -> None:
    """What it said last is forgotten."""
    raw.xadd("orders", {"n": 1})
    states.deliver(consumer="killed", count=0)
    elsewhere()
    assert groups.waiting("orders", "billing").consumers == ["killed"]
    monkeypatch.setattr(store, "LIVING_MS", 0)
    wait_until(lambda: groups.waiting("orders", "billing").consumers == [])


def test_a_worker_says_again_and_again_that_it_serves_its_group(raw: Raw, seen: list[str]) -> None:
    """However long it runs, and also where it was forgotten meanwhile."""
    with working(name="old", timing=Timing(serve=0.05, serve_anew=0.05, look_stale=0.05)) as worker:
        reading(worker)
        for _ in range(2):
            raw.delete("{orders}:workers:billing")
            wait_until(lambda: raw.zrange("{orders}:workers:billing", 0, -1) == ["old"])
    assert not raw.exists("{orders}:workers:billing")


# ---------------------------------------------------------------- workers that run meanwhile


@pytest.mark.parametrize("declared", [LOYALTY, None], ids=["elsewhere", "here"])
def test_a_worker_stops_reading_a_group_that_is_deleted_on_purpose(
    raw: Raw, seen: list[str], streams: Any, caplog: pytest.LogCaptureFixture, declared: Any
) -> None:
    """It says so in one line, ends its consumer, and runs nothing again."""
    publish(raw, *range(10))
    worker = Worker().start()
    wait_until(lambda: totals(raw) == {"acknowledged": 10})
    if declared:
        streams(declared)
    assert groups.delete("orders", "billing", by="ann", force=True)
    publish(raw, 10)
    worker.join()
    assert sorted(seen) == sorted(map(str, range(10)))
    assert on_server(raw) == on_server(raw, "{orders}:redelivery:billing") == set()
    told = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "orders:billing was deleted by 'ann' at" in told[0]


def test_a_paused_worker_obeys_too(raw: Raw, seen: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """It doesn't take the end of its group for the end of the pause."""
    caplog.set_level(logging.INFO)
    groups.pause("orders", "billing", by="ann")
    worker = Worker().start()
    wait_until(lambda: worker.consumer._paused)
    groups.delete("orders", "billing", by="ann", force=True)
    worker.join()
    assert on_server(raw) == set()
    assert "was deleted by 'ann'" in caplog.text
    assert "resumed" not in caplog.text


def test_a_worker_obeys_in_all_lanes(raw: Raw, seen: list[str], streams: Callable[..., None]) -> None:
    """Also in a lane that isn't declared any more."""
    streams({"orders": {**LANES["orders"], "LANES": ["high", "old", "default"]}})
    raw.xadd("{orders}:lane:old", {"n": 0})
    drain()
    streams(LANES)
    worker = Worker().start()
    reading(worker)
    groups.delete("orders", "billing", by="ann", force=True)
    worker.join()
    for key in ("orders", "{orders}:lane:high", "{orders}:lane:old"):
        assert on_server(raw, key) == set()
    assert not [key for key in raw.keys("*") if "billing" in key and ":stats:" not in key]
    assert not raw.exists("{orders}:lanes")


def test_what_a_worker_has_in_hand_is_dropped(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """What runs ends, and no outcome of it is settled; what waits behind it isn't begun."""
    began, finish = threading.Event(), threading.Event()
    seen: list[str] = []

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        seen.append(message.payload["n"])
        began.set()
        finish.wait(20)
        raise RuntimeError("to be retried")

    publish(raw, *range(10))
    worker = Worker().start()
    assert began.wait(10)
    groups.delete("orders", "billing", by="ann", force=True)
    wait_until(lambda: worker.runner.connection.deleted, "it learns of it while its handler runs")
    finish.set()
    worker.join()
    assert seen == ["0"]
    assert on_server(raw) == set()
    assert not raw.exists("{orders}:retry:billing", "{orders}:dlq", "{orders}:suspects:billing")
    assert "was deleted by 'ann'" in caplog.text


def test_trimming_makes_no_deleted_group_again(raw: Raw, streams: Callable[..., None]) -> None:
    """Also where another group's worker looks after the stream: what only the deleted one needed goes."""
    streams({"orders": {"MAXLEN": 1, "EXACT_TRIM": True, "GROUPS": {"billing": {}, "loyalty": {}}}})
    handler("orders", group="loyalty")(lambda _: None)
    publish(raw, *range(20))
    drain_nothing()
    raw.xgroup_setid("orders", "billing", "0")
    with working(group="loyalty"):
        wait_until(lambda: totals(raw, "loyalty") == {"acknowledged": 20})
        groups.delete("orders", "billing", by="ann", force=True)
        wait_until(lambda: raw.xlen("orders") == 1)
    assert on_server(raw) == {"loyalty"}


def test_what_a_dead_process_held_of_a_deleted_group_is_looked_after_by_nobody(raw: Raw) -> None:
    """Nothing of it is pending any more: who looks after it is done at once, instead of trying for ever."""
    publish(raw, 1)
    (held,) = states.deliver()
    place = Membership(conf.stream("orders"), conf.group("orders", "billing"), "tested")
    groups.delete("orders", "billing", by="ann", force=True)
    assert rescue_all([Orphans(place, 1, suspects=[Suspect(held.token, "was killed")])], os.getppid()) == 0
    assert not raw.exists("{orders}:suspects:billing")


# ---------------------------------------------------------------- anew


def test_a_worker_that_starts_later_makes_the_group_anew(
    raw: Raw, seen: list[str], streams: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """At its START, which may be another by now; it says so, and the deletion is no longer on record."""
    publish(raw, 1, 2)
    drain()
    groups.delete("orders", "billing", by="ann", force=True)
    streams({"orders": {"GROUPS": {"billing": {"START": "$"}}}})
    with working() as worker:
        reading(worker)
        publish(raw, 3)
        wait_until(lambda: seen == ["1", "2", "3"])
        wait_until(lambda: totals(raw) == {"acknowledged": 1}, "the books began anew too")
    assert "creates it again, and it begins at its START, '$'" in caplog.text
    assert set(raw.hgetall("{orders}:groups")) == {"billing"}


def test_a_group_that_is_created_again_begins_anew(raw: Raw, seen: list[str]) -> None:
    """By command or function, where it is told to begin; a worker finds it there."""
    publish(raw, 1)
    drain()
    groups.delete("orders", "billing", by="ann", force=True)
    publish(raw, 2)
    assert groups.create("orders", "billing", "$", by="ann")
    publish(raw, 3)
    drain()
    assert seen == ["1", "3"]
    assert set(raw.hgetall("{orders}:groups")) == {"billing"}


@pytest.mark.parametrize("how", ["destroyed by another", "lost with its stream"])
def test_a_group_that_went_in_another_way_is_made_again(raw: Raw, seen: list[str], how: str) -> None:
    """An old deletion doesn't count: the record ended when the group was made anew."""
    drain()
    groups.delete("orders", "billing", by="ann", force=True)
    with working() as worker:
        reading(worker)
        if how == "destroyed by another":
            raw.xgroup_destroy("orders", "billing")
        else:
            raw.delete("orders")
        publish(raw, 1)
        wait_until(lambda: "1" in seen)


# ---------------------------------------------------------------- whole workers


TWO = {"orders": {"GROUPS": {"billing": {}, "loyalty": {}}}}


def serving(raw: Raw, group: str) -> list[str]:
    """The workers that serve a group."""
    return list(raw.zrange(f"{{orders}}:workers:{group}", 0, -1))


def test_a_worker_goes_on_with_its_other_groups(raw: Raw, fleet: Fleet, streams: Callable[..., None]) -> None:
    """And ends, well, when the last of them is deleted; a process that takes another's place makes none again."""
    streams(TWO)
    fleet.streams = TWO
    worker = fleet.start("orders:billing", "orders:loyalty")
    wait_until(lambda: serving(raw, "billing") and serving(raw, "loyalty"))
    groups.delete("orders", "billing", by="ann", force=True)
    publish(raw, 1)
    wait_until(lambda: totals(raw, "loyalty") == {"acknowledged": 1})
    (killed,) = serving(raw, "loyalty")
    for child in fleet.children(worker):
        os.kill(child, signal.SIGKILL)
    wait_until(lambda: serving(raw, "loyalty") not in ([], [killed]), "another process takes its place")
    publish(raw, 2)
    wait_until(lambda: totals(raw, "loyalty") == {"acknowledged": 2})
    assert on_server(raw) == {"loyalty"}
    groups.delete("orders", "loyalty", by="ann", force=True)
    said = fleet.finish(worker)
    assert on_server(raw) == set()
    told = [line for line in said.splitlines() if "no longer reads it" in line]
    lines = Counter(line.split(" was deleted by")[0].split()[-1] for line in told)
    # The process that was killed may not have learned of the first.
    assert set(lines) == {"orders:billing", "orders:loyalty"}
    assert "Stopped." in said
