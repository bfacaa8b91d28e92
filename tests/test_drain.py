"""`runconsumers --drain`: it ends when nothing is unread, pending or due in any of its groups, and not before."""

import signal
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams import Message, Retry, conf, publish
from django_redis_streams.handlers import handler
from django_redis_streams.operations import groups
from django_redis_streams.worker.options import Options
from django_redis_streams.worker.process import Process
from django_redis_streams.worker.services.draining import Drain

from .support.books import totals
from .support.waiting import wait_until
from .support.workers import Fleet, assigned

Raw = Any

TWO_GROUPS = {"orders": {"GROUPS": {"billing": {}, "statistics": {}}}}
TWO_STREAMS = {"orders": {"GROUPS": {"billing": {}}}, "mails": {"GROUPS": {"senders": {}}}}

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")


def drain(threads: int = 1) -> None:
    """One process of a worker, in this one's main thread, that serves all groups until it has drained them."""
    served = tuple((stream, group) for stream in conf.get().streams.values() for group in stream.groups.values())
    assert Process(assigned(Options(groups=served, drain=True, threads=threads))).run() == 0


def evaluations(raw: Raw) -> int:
    """How many scripts the server has run: each look at what is left is one."""
    return int(raw.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def wait_for_looks(raw: Raw, count: int = 30) -> None:
    """Wait until a worker has looked so often that a group with nothing to do could have been left."""
    before = evaluations(raw)
    wait_until(lambda: evaluations(raw) > before + count)


# ---------------------------------------------------------------- no group is left before all are done


@pytest.mark.parametrize("time", range(3))
def test_a_group_whose_retry_comes_due_while_another_is_busy_is_served(streams: Any, raw: Raw, time: int) -> None:
    """Its consumer is there as long as any other of the worker."""
    streams(TWO_GROUPS)
    billed: list[int] = []

    @handler("orders", group="billing")
    def bill(message: Message) -> None:
        billed.append(message.attempt)
        if message.attempt == 1:
            raise Retry(delay=0.3)

    @handler("orders", group="statistics")
    def count(_: Message) -> None:
        wait_until(lambda: billed == [1, 2], deadline=10)

    publish("orders", {"n": 1})
    drain()
    assert totals(raw) == {"acknowledged": 1, "retried": 1}
    assert totals(raw, "statistics") == {"acknowledged": 1}


@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_handler_publishes_for_another_group_is_handled(streams: Any, raw: Raw, threads: int) -> None:
    """However long it has run before, and back again: until nothing of all is left."""
    streams(TWO_STREAMS)

    @handler("orders", group="billing")
    def bill(message: Message) -> None:
        wait_for_looks(raw)
        if message.payload["n"]:
            publish("mails", {"n": message.payload["n"]})

    @handler("mails", group="senders")
    def send(message: Message) -> None:
        wait_for_looks(raw)
        publish("orders", {"n": message.payload["n"] - 1})

    publish("orders", {"n": 2})
    drain(threads)
    assert totals(raw) == {"acknowledged": 3}
    assert totals(raw, "senders", "mails") == {"acknowledged": 2}


def test_groups_on_two_servers_are_drained_together(make_server: Any, settings: Any, raw: Raw) -> None:
    """What is run of one may publish for the other."""
    other = make_server()
    settings.REDIS_STREAMS = {
        "CONNECTIONS": {**settings.REDIS_STREAMS["CONNECTIONS"], "other": {"URL": other.url}},
        "STREAMS": {**TWO_STREAMS, "mails": {**TWO_STREAMS["mails"], "CONNECTION": "other"}},
    }

    @handler("orders", group="billing")
    def bill(message: Message) -> None:
        wait_for_looks(other.raw())
        publish("mails", message.payload)

    handler("mails", group="senders")(lambda _: None)
    publish("orders", {"n": 1})
    drain()
    assert totals(other.raw(), "senders", "mails") == {"acknowledged": 1}


def test_what_is_run_of_a_paused_group_may_publish_for_another(streams: Any, raw: Raw) -> None:
    """A paused group isn't waited for, but what a consumer of it has in hand is."""
    streams(TWO_STREAMS)

    @handler("orders", group="billing")
    def bill(message: Message) -> None:
        groups.pause("orders", "billing", by="a test")
        wait_for_looks(raw)
        publish("mails", message.payload)

    handler("mails", group="senders")(lambda _: None)
    publish("orders", {"n": 1})
    drain()
    assert totals(raw, "senders", "mails") == {"acknowledged": 1}


@pytest.mark.parametrize("what", ["a delayed message", "a retry"])
def test_it_does_not_end_before_what_is_due_is_moved(streams: Any, raw: Raw, what: str) -> None:
    """Whoever moves it may be late, as after the death of a promoter."""
    streams(TWO_GROUPS)
    raw.set("{orders}:promoter", "a dead process", px=700)

    @handler("orders", group="billing")
    def bill(message: Message) -> None:
        if what == "a retry" and message.attempt == 1:
            raise Retry(delay=0)

    handler("orders", group="statistics")(lambda _: None)
    publish("orders", {"n": 1}, delay=0.001 if what == "a delayed message" else None)
    drain()
    assert totals(raw)["acknowledged"] == totals(raw, "statistics")["acknowledged"] == 1


def test_connections_must_agree_on_a_moment() -> None:
    """Nothing left here, then nothing left there, is not nothing left."""
    ended: list[str] = []
    drain = Drain(["here", "there"], lambda: ended.append("ended"))
    still = (("1-0", "1-0"),)
    assert not drain.looked("here", still, 0, 1)
    assert not drain.looked("here", still, 2, 3)
    assert not drain.looked("there", still, 4, 5)
    assert not drain.looked("there", still, 6, 7)
    assert not drain.looked("here", (("2-0", "2-0"),), 8, 9)
    assert not drain.looked("there", still, 10, 11)
    assert ended == []
    assert drain.looked("here", (("2-0", "2-0"),), 12, 13)
    assert ended == ["ended"]


# ---------------------------------------------------------------- what it leaves is told


def test_workers_of_several_processes_leave_nothing(fleet: Fleet, raw: Raw) -> None:
    """Each process has consumers for all groups, and the last to leave has seen that nothing is left."""
    fleet.streams = {"orders": {"GROUPS": {"billing": {}, "statistics": {}}}}
    for do in ["retry-once:0.2", "retry-once:0.5", "sleep-for:statistics:1", "fail-once"] * 3:
        raw.xadd("orders", {"do": do})
    said = fleet.drain("--processes", "2", "--threads", "2")
    for group in ("billing", "statistics"):
        left = totals(raw, group)["retried"] + totals(raw, group)["acknowledged"] - 12
        waiting = raw.zcard(f"{{orders}}:retry:{group}")
        assert left == totals(raw, group)["retried"] - waiting
        assert raw.xlen(f"{{orders}}:redelivery:{group}") == 0
        assert (f"orders:{group}: {waiting} waiting for a later retry." in said) == bool(waiting)


def test_what_is_delayed_is_counted(fleet: Fleet, raw: Raw) -> None:
    """It is no group's yet, and not waited for."""
    fleet.streams = TWO_GROUPS
    for _ in range(2):
        publish("orders", {"do": "ok"}, delay=3600)
    said = fleet.drain()
    assert said.strip().splitlines()[-2:] == ["orders: 2 waiting to be published later.", "Stopped."]


def test_what_a_drain_that_is_stopped_leaves_is_told(fleet: Fleet, raw: Raw, tmp_path: Path) -> None:
    """As is what comes while it ends: nobody takes it for done. Until it hears of the stop it may run one more."""
    finish = tmp_path / "finish"
    does = [f"wait:{finish}", *["sleep:1"] * 4]
    for do in does:
        raw.xadd("orders", {"do": do})
    worker = fleet.start("--drain")
    wait_until(lambda: fleet.noted("began"))
    worker.send_signal(signal.SIGTERM)
    finish.touch()
    said = fleet.finish(worker)
    left = len(does) - len(fleet.noted("ended"))
    assert left > 0
    assert said.strip().splitlines()[-2:] == [f"orders:billing: {left} unread or pending.", "Stopped."]
