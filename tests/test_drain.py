"""`runconsumers --drain`: it ends when nothing is unread, pending or due in any of its groups, and not before."""

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams import Message, Retry, conf, publish
from django_redis_streams.connections import Link
from django_redis_streams.handlers import handler
from django_redis_streams.operations import groups
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.outbox.relay import Relay, Step
from django_redis_streams.worker.options import Options
from django_redis_streams.worker.process import Process
from django_redis_streams.worker.services.draining import Drain

from .support import unsent
from .support.books import totals
from .support.waiting import wait_until
from .support.workers import Fleet, assigned

Raw = Any

TWO_GROUPS = {"orders": {"GROUPS": {"billing": {}, "statistics": {}}}}
TWO_STREAMS = {"orders": {"GROUPS": {"billing": {}}}, "mails": {"GROUPS": {"senders": {}}}}

# The process relays the outbox, too, so it needs the database.
pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams", "transactional_db")


def drain(threads: int = 1) -> None:
    """One process of a worker, in this one's main thread, that serves all groups until it has drained them."""
    served = tuple((stream, group) for stream in conf.get().streams.values() for group in stream.groups.values())
    assert Process(assigned(Options(groups=served, drain=True, threads=threads))).run() == 0


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a process has looked whether its drain is over, by connection."""
    counted: Counter[str] = Counter()
    looked = Drain.looked

    def counting(drain: Drain, alias: str, *found: Any) -> bool:
        counted[alias] += 1
        return looked(drain, alias, *found)

    monkeypatch.setattr(Drain, "looked", counting)
    return counted


def wait_for_looks(looks: Counter[str], alias: str = "default") -> None:
    """Wait until the process has looked so often that a group with nothing to do could have been left."""
    before = looks[alias]
    wait_until(lambda: looks[alias] > before + 10)


# ---------------------------------------------------------------- what the outbox holds


def test_what_waits_in_the_outbox_is_handled(
    streams: Any, raw: Raw, looks: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late the relay comes to it; not what its publisher is just sending."""
    streams({"orders": {"OUTBOX": "always", "GROUPS": {"billing": {}}}})
    step, waited = Relay.step, []

    def late(relay: Relay, link: Link) -> Step:
        if not waited:
            waited.append(True)
            wait_for_looks(looks)
        return step(relay, link)

    monkeypatch.setattr(Relay, "step", late)

    @handler("orders", group="billing")
    def bill(_: Message) -> None: ...

    rows = [unsent.row() for _ in range(150)]  # more than the relay's first batch
    sending = unsent.sending()
    drain()
    assert totals(raw) == {"acknowledged": len(rows)}
    assert [row.pk for row in OutboxMessage.objects.all()] == [sending.pk]


def test_a_relay_that_the_server_refuses_does_not_hold_up_the_end(raw: Raw) -> None:
    """It may be refused for ever."""
    handler("orders", group="billing")(lambda _: None)
    relay = Relay("default", "default")
    raw.sadd(relay._lease.keys.relay(relay._lease.database), "of a wrong type")
    row = unsent.row()
    drain()
    assert [each.pk for each in OutboxMessage.objects.all()] == [row.pk]
    OutboxMessage.objects.all().delete()


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
        wait_until(lambda: billed == [1, 2], deadline=60)

    publish("orders", {"n": 1})
    drain()
    assert totals(raw) == {"acknowledged": 1, "retried": 1}
    assert totals(raw, "statistics") == {"acknowledged": 1}


@pytest.mark.parametrize("threads", [1, 2])
def test_what_a_handler_publishes_for_another_group_is_handled(
    streams: Any, raw: Raw, looks: Counter[str], threads: int
) -> None:
    """However long it has run before, and back again: until nothing of all is left."""
    streams(TWO_STREAMS)

    @handler("orders", group="billing")
    def bill(message: Message) -> None:
        wait_for_looks(looks)
        if message.payload["n"]:
            publish("mails", {"n": message.payload["n"]})

    @handler("mails", group="senders")
    def send(message: Message) -> None:
        wait_for_looks(looks)
        publish("orders", {"n": message.payload["n"] - 1})

    publish("orders", {"n": 2})
    drain(threads)
    assert totals(raw) == {"acknowledged": 3}
    assert totals(raw, "senders", "mails") == {"acknowledged": 2}


def test_groups_on_two_servers_are_drained_together(
    make_server: Any, settings: Any, raw: Raw, looks: Counter[str]
) -> None:
    """What is run of one may publish for the other."""
    other = make_server()
    settings.REDIS_STREAMS = {
        "CONNECTIONS": {**settings.REDIS_STREAMS["CONNECTIONS"], "other": {"URL": other.url}},
        "STREAMS": {**TWO_STREAMS, "mails": {**TWO_STREAMS["mails"], "CONNECTION": "other"}},
    }

    @handler("orders", group="billing")
    def bill(message: Message) -> None:
        wait_for_looks(looks, "other")
        publish("mails", message.payload)

    handler("mails", group="senders")(lambda _: None)
    publish("orders", {"n": 1})
    drain()
    assert totals(other.raw(), "senders", "mails") == {"acknowledged": 1}


def test_what_is_run_of_a_paused_group_may_publish_for_another(streams: Any, raw: Raw, looks: Counter[str]) -> None:
    """A paused group isn't waited for, but what a consumer of it has in hand is."""
    streams(TWO_STREAMS)

    @handler("orders", group="billing")
    def bill(message: Message) -> None:
        groups.pause("orders", "billing", by="a test")
        wait_for_looks(looks)
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
    """As is what comes while it ends: nobody takes it for done."""
    finish = tmp_path / "finish"
    for do in (f"wait:{finish}", *["ok"] * 4):
        raw.xadd("orders", {"do": do})
    worker = fleet.start("--drain")
    wait_until(lambda: fleet.noted("began"))
    worker.send_signal(signal.SIGTERM)
    fleet.stops_amid_work(worker)
    finish.touch()
    said = fleet.finish(worker)
    assert len(fleet.noted("ended")) == 1
    assert said.strip().splitlines()[-2:] == ["orders:billing: 4 unread or pending.", "Stopped."]
