"""The relay of the outbox: what is committed and isn't on the server yet is sent, in order, and nothing vanishes."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import NotSupportedError, OperationalError, connection, connections, transaction
from django.db.models.functions import Now
from django.db.models.signals import post_delete, pre_delete
from django.utils import timezone

from django_redis_streams import Message, conf, signals
from django_redis_streams import connections as servers
from django_redis_streams.connections.refusals import PartUnreachable
from django_redis_streams.exceptions import ServerUnreachable
from django_redis_streams.outbox import batch as batch_module
from django_redis_streams.outbox import relay as relay_module
from django_redis_streams.outbox.actions import discard, send_now
from django_redis_streams.outbox.databases import OutboxUnavailable
from django_redis_streams.outbox.kept import delete_kept
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.outbox.relay import Relay, Step, tell_undeclared
from django_redis_streams.outbox.rows import row_of
from django_redis_streams.outbox.standing import HELD, ON_TOO_FEW
from django_redis_streams.publishing.encoded import Call
from django_redis_streams.store.publish.delay import Due

from .support.clusters import BY_CLUSTER
from .support.proxies import Proxy
from .support.servers import Server

Raw = Any
STREAMS = {"orders": {"OUTBOX": "always", "LANES": ["high", "default"]}, "bills": {"OUTBOX": "always"}}

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _streams(streams: Callable[..., None]) -> None:
    streams(STREAMS)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Each database, with an empty table."""
    if request.param == "postgresql":
        use_server(request, "postgresql")
    yield
    OutboxMessage.objects.all().delete()


def use_server(request: pytest.FixtureRequest, name: str) -> None:
    """Make the server of this fixture the default database, with the table, until the test has ended."""
    request.getfixturevalue("use_database")(**request.getfixturevalue(name).settings)
    with connection.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    request.addfinalizer(_drop)


def _drop() -> None:
    with connection.schema_editor() as editor:
        editor.delete_model(OutboxMessage)


def waiting(
    *payloads: Any, stream: str = "orders", key: str | None = None, lane: str | None = None, due: Due | None = None
) -> list[OutboxMessage]:
    """Commit rows that are due now."""
    call = Call(conf.stream(stream), None, key, None, lane, due=due)
    rows = [row_of(call, call.one(payload)) for payload in payloads]
    return OutboxMessage.objects.bulk_create(rows)


def relayed(relay: Relay | None = None) -> list[Step]:
    """Relay until nothing more is due."""
    relay = relay or Relay("default", "default")
    steps = [relay.step(servers.get())]
    while steps[-1].more:
        steps.append(relay.step(servers.get()))
    relay.let_go(servers.get())
    return steps


def payloads(raw: Raw, key: str = "orders") -> list[Any]:
    """What is on a stream."""
    return [json.loads(fields["data"]) for _, fields in raw.xrange(key)]


def due_again(*rows: OutboxMessage) -> None:
    """Have rows be due now, all where none is given."""
    found = OutboxMessage.objects.filter(pk__in=[row.pk for row in rows]) if rows else OutboxMessage.objects.all()
    found.update(next_try_at=Now())


@pytest.mark.usefixtures("database")
def test_what_is_due_is_sent_in_order_and_deleted(raw: Raw) -> None:
    """Each to its lane and its stream, with the id and the fields of its row."""
    rows = waiting(1, 2, 3)
    waiting("urgent", lane="high")
    waiting("bill", stream="bills")
    assert sum(each.sent for each in relayed()) == 5
    assert payloads(raw) == [1, 2, 3]
    assert [fields["id"] for _, fields in raw.xrange("orders")] == [row.message_id for row in rows]
    assert payloads(raw, "{orders}:lane:high") == ["urgent"]
    assert payloads(raw, "bills") == ["bill"]
    assert not OutboxMessage.objects.exists()


@pytest.mark.usefixtures("database")
def test_what_somebody_is_sending_is_left_to_them(raw: Raw) -> None:
    """A row isn't taken before its time by the database's clock."""
    (row,) = waiting(1)
    OutboxMessage.objects.update(next_try_at=Now() + timedelta(seconds=20))
    assert relayed() == [Step(held=True)]
    assert payloads(raw) == []
    due_again(row)
    assert relayed()[0].sent == 1


@pytest.mark.usefixtures("database")
def test_a_row_of_an_open_transaction_is_not_sent_before_its_commit(raw: Raw) -> None:
    """Later rows are; and after the commit it is sent, once."""
    began, commit = threading.Event(), threading.Event()

    def open_transaction() -> None:
        try:
            with transaction.atomic():
                waiting("early", key="k")
                began.set()
                assert commit.wait(20)
        finally:
            connection.close()

    thread = threading.Thread(target=open_transaction)
    thread.start()
    assert began.wait(20)
    if connection.vendor == "postgresql":  # SQLite has one writer at a time
        waiting("late")
    relay = Relay("default", "default")
    relayed(relay)
    assert "early" not in payloads(raw)
    commit.set()
    thread.join()
    relayed(relay)
    relayed(relay)
    assert payloads(raw).count("early") == 1


@pytest.mark.usefixtures("database")
def test_a_refused_message_backs_off_and_stays(raw: Raw) -> None:
    """From a second to a minute, doubled with each refusal; the server's words are in its row. Others are sent."""
    raw.set("bills", "not a stream")
    (row,) = waiting("bill", stream="bills")
    waiting(1)
    steps = relayed()
    assert [(each.sent, each.refused) for each in steps] == [(1, 1)]
    waits = []
    for attempts in range(1, 9):
        row.refresh_from_db()
        assert row.attempts == attempts
        assert "WRONGTYPE" in row.error
        now = OutboxMessage.objects.values_list(Now(), flat=True).get()
        waits.append(round((row.next_try_at - now).total_seconds()))
        due_again(row)
        relayed()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    raw.delete("bills")
    due_again(row)
    relayed()
    assert payloads(raw, "bills") == ["bill"]


@pytest.mark.usefixtures("database")
def test_a_refused_message_holds_back_the_later_ones_of_its_key_alone(raw: Raw) -> None:
    """In the same batch, in a later one, and on another lane; and they leave in their order when it has left."""
    raw.set("{orders}:lane:high", "not a stream")
    (first,) = waiting("a1", key="a", lane="high")
    waiting("a2", "a3", key="a")
    waiting("b1", key="b")
    waiting("none")
    relayed()
    assert payloads(raw) == ["b1", "none"]
    waiting("a4", key="a")
    waiting("b2", key="b")
    relayed()
    assert payloads(raw) == ["b1", "none", "b2"]
    held = OutboxMessage.objects.exclude(pk=first.pk)
    assert set(held.values_list("error", "attempts")) == {(HELD, 0)}
    raw.delete("{orders}:lane:high")
    due_again()
    relayed()
    assert payloads(raw, "{orders}:lane:high") == ["a1"]
    assert payloads(raw)[3:] == ["a2", "a3", "a4"]


@pytest.mark.usefixtures("database")
def test_a_message_whose_key_is_just_being_sent_waits(raw: Raw) -> None:
    """An earlier row of the key isn't due, as its publisher sends it: the later one must not overtake it."""
    (first,) = waiting("first", key="k")
    OutboxMessage.objects.update(next_try_at=Now() + timedelta(seconds=20))
    (second,) = waiting("second", key="k")
    relayed()
    assert payloads(raw) == []
    first.delete()  # it was sent
    due_again(second)
    relayed()
    assert payloads(raw) == ["second"]


@pytest.mark.usefixtures("database")
def test_delayed_messages_keep_their_time(raw: Raw) -> None:
    """A delay counts from when the row was made, and what is overdue is due now."""
    now = raw.time()[0] * 1000
    (old, overdue) = waiting("old", "overdue", due=Due(60_000, absolute=False))
    (at,) = waiting("at", due=Due(now + 500_000, absolute=True))
    OutboxMessage.objects.filter(pk=old.pk).update(created_at=Now() - timedelta(seconds=20))
    OutboxMessage.objects.filter(pk=overdue.pk).update(created_at=Now() - timedelta(seconds=100))
    relayed()
    due = dict(raw.zrange("{orders}:delayed", 0, -1, withscores=True))
    assert due[at.message_id] == now + 500_000
    assert due[old.message_id] - now == pytest.approx(40_000, abs=5_000)
    assert due[overdue.message_id] - now == pytest.approx(0, abs=5_000)
    assert not OutboxMessage.objects.exists()


@pytest.mark.usefixtures("database")
def test_a_message_of_an_undeclared_stream_waits_and_is_told_of(
    raw: Raw, streams: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """A newer release may declare it."""
    waiting(1, 2, stream="bills")
    streams({"orders": {}})
    relayed()
    tell_undeclared("default")
    assert "2 messages wait in the outbox of database 'default' for the stream 'bills'" in caplog.text
    assert set(OutboxMessage.objects.values_list("attempts", "error")) == {(0, "")}
    streams(STREAMS)
    relayed()
    assert payloads(raw, "bills") == [1, 2]


@pytest.mark.usefixtures("database")
def test_what_cannot_be_sent_as_it_is_says_so_and_stays(raw: Raw, streams: Callable[..., None]) -> None:
    """A row that can't be decoded, and one of a lane that isn't declared any more. Others are sent."""
    bad, half, lane = *waiting("bad", "half a character"), *waiting("lane", lane="high")
    OutboxMessage.objects.filter(pk=bad.pk).update(entry="{")
    OutboxMessage.objects.filter(pk=half.pk).update(entry=half.entry.replace("half", r"\ud800"))
    waiting("good")
    streams({"orders": {"OUTBOX": "always"}})
    assert [(each.sent, each.refused) for each in relayed()] == [(1, 3)]
    for each in (bad, half, lane):
        each.refresh_from_db()
        assert each.attempts == 1
    assert "expected a JSON list" in bad.error
    assert "surrogates not allowed" in half.error
    assert "Lane 'high' isn't one of the LANES of stream 'orders'" in lane.error
    assert payloads(raw) == ["good"]


def test_each_message_that_a_full_server_refuses_says_so(
    raw: Raw, make_server: Callable[..., Server], streams: Callable[..., None]
) -> None:
    """Though the lease takes memory, too."""
    streams(STREAMS, URL=make_server(maxmemory="1", maxmemory_policy="noeviction").url)
    waiting(1, 2)
    assert sum(each.refused for each in relayed()) == 2
    assert all("maxmemory" in each.error for each in OutboxMessage.objects.all())


@pytest.mark.skipif(BY_CLUSTER, reason="the proxy leads to one node, and the relay's lease is on another")
@pytest.mark.usefixtures("database")
def test_a_lost_reply_doubles_messages_and_loses_none(raw: Raw, proxy: Proxy, streams: Callable[..., None]) -> None:
    """What the server isn't known to have stays as it was."""
    waiting(1, 2)
    relay = Relay("default", "default")
    streams(STREAMS, URL=proxy.url)
    assert relay.hold(servers.get())
    proxy.lose_reply_to("XADD")
    with pytest.raises(ServerUnreachable):
        relay.step(servers.get())
    assert set(OutboxMessage.objects.values_list("attempts", "error")) == {(0, "")}
    streams(STREAMS)
    relayed(relay)
    assert payloads(raw) == [1, 2, 1, 2]
    assert not OutboxMessage.objects.exists()


@pytest.mark.usefixtures("database")
def test_a_server_killed_in_mid_relay_loses_nothing(
    make_server: Callable[..., Server], streams: Callable[..., None]
) -> None:
    """What it took, it has; the rest is sent when it is back."""
    other = make_server()
    streams(STREAMS, URL=other.url)
    waiting(*range(400))
    relay = Relay("default", "default")
    sent = relay.step(servers.get()).sent
    other.kill9()
    with pytest.raises(ServerUnreachable):
        relayed(relay)
    assert OutboxMessage.objects.count() == 400 - sent
    other.start()
    relayed(relay)
    assert payloads(other.raw()) == list(range(400))


@pytest.mark.usefixtures("database")
def test_what_stands_behind_a_lost_reply_and_was_taken_is_not_sent_again(
    raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster a pipeline may be answered in part. What is behind the lost one, of its key, waits for it."""
    append, lost = batch_module.append, []

    def answer_in_part(link: Any, stream: Any, lane: str, entries: Sequence[Any]) -> list[Any]:
        if lost:
            return append(link, stream, lane, entries)
        replies = append(link, stream, lane, [*entries[:1], *entries[2:]])
        lost.append(PartUnreachable("The node is away."))
        return [replies[0], *lost, *replies[1:]]

    monkeypatch.setattr(batch_module, "append", answer_in_part)
    waiting("first")
    waiting("lost", key="k")
    waiting("third")
    waiting("behind", key="k")
    relay = Relay("default", "default")
    with pytest.raises(PartUnreachable):
        relay.step(servers.get())
    assert payloads(raw) == ["first", "third"]
    assert [row.error for row in OutboxMessage.objects.order_by("pk")] == ["", HELD]
    OutboxMessage.objects.update(next_try_at=Now())
    relay._after = 0
    relayed(relay)
    assert payloads(raw) == ["first", "third", "lost", "behind"]
    assert not OutboxMessage.objects.exists()


def test_two_relays_at_once_send_each_message_once(raw: Raw, request: pytest.FixtureRequest) -> None:
    """On a database that locks rows, whatever became of the lease."""
    use_server(request, "postgresql")
    waiting(*range(3_000))
    errors: list[BaseException] = []

    def relay(number: int) -> None:
        try:
            mine = Relay("default", "default")
            mine._lease = replace(mine._lease, database=f"database {number}")
            while OutboxMessage.objects.exists():
                mine.step(servers.get())
        except BaseException as error:  # noqa: BLE001  shown below
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=relay, args=[number]) for number in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert errors == []
    assert sorted(payloads(raw)) == list(range(3_000))


def lease_of(relay: Relay) -> str:
    """The key of its lease."""
    return relay._lease.keys.relay(relay._lease.database)


def test_one_relay_has_the_lease_until_it_lets_go(raw: Raw) -> None:
    """Another does nothing meanwhile, and takes over at once."""
    waiting(1)
    first, second = Relay("default", "default"), Relay("default", "default")
    assert first.step(servers.get()).sent == 1
    waiting(2)
    assert second.step(servers.get()) == Step(held=False)
    assert 0 < raw.pttl(lease_of(first)) <= 10_000
    first.let_go(servers.get())
    assert second.step(servers.get()).sent == 1
    assert lease_of(second).startswith("{bills}:relay:")


def test_a_lease_that_lasts_too_long_is_nobodys(raw: Raw) -> None:
    """It dates from before the server's clock went back."""
    relay = Relay("default", "default")
    raw.set(lease_of(relay), "somebody", px=60_000)
    assert relay.hold(servers.get())


def test_leases_are_behind_the_prefix(raw: Raw, streams: Callable[..., None]) -> None:
    """As all keys of a connection."""
    streams(STREAMS, KEY_PREFIX="shop")
    relayed_to = Relay("default", "default")
    assert relayed_to.hold(servers.get())
    (key,) = raw.keys("*:relay:*")
    assert key.startswith("{shop:bills}:relay:")


def test_a_front_of_refused_messages_holds_up_nobody(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages behind thousands that were refused are sent after few looks."""
    monkeypatch.setattr(
        batch_module, "_SHORTEST", batch_module._LONGEST
    )  # a busy machine takes longer than a second for so many
    raw.set("bills", "not a stream")
    waiting(*range(5_000), stream="bills")
    relayed()
    assert not OutboxMessage.objects.filter(next_try_at__lte=Now()).exists()
    waiting("new")
    steps = relayed()
    assert len(steps) < 5
    assert (sum(each.sent for each in steps), sum(each.refused for each in steps)) == (1, 0)


@pytest.mark.usefixtures("database")
def test_a_front_that_never_ends_holds_up_nobody(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """More is refused, and due again, than is looked at before the relay begins again: its last row has its turn.

    And so has the first one, as often as a pass is interrupted.
    """
    monkeypatch.setattr(relay_module, "_PASS", -1.0)  # it is, at each step
    monkeypatch.setattr(batch_module, "_backoff", lambda _: 0)
    raw.set("bills", "not a stream")
    first, *_ = waiting(*range(3_000), stream="bills")
    waiting("last")
    relay = Relay("default", "default")
    steps = 0
    while not raw.exists("orders"):
        relay.step(servers.get())
        steps += 1
        assert steps < 40
    first.refresh_from_db()
    assert first.attempts >= steps // 2


@pytest.mark.usefixtures("database")
def test_large_messages_after_small_ones_leave_in_small_batches(raw: Raw) -> None:
    """However small the ones before were: memory holds about eight million characters of entries."""
    waiting(*range(150))
    waiting(*["x" * 1_000_000] * 12)
    steps = relayed()
    assert [each.sent for each in steps if each.sent] == [100, 58, 4]
    assert len(payloads(raw)) == 162
    assert not OutboxMessage.objects.exists()


@pytest.mark.parametrize("count", [3_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_thousands_of_messages_drain(raw: Raw, request: pytest.FixtureRequest, count: int) -> None:
    """None is lost or doubled, and they keep their order."""
    use_server(request, "postgresql")
    waiting(*range(count))
    assert sum(each.sent for each in relayed()) == count
    assert payloads(raw) == list(range(count))
    assert not OutboxMessage.objects.exists()


@pytest.mark.usefixtures("database")
def test_kept_rows_go_in_the_end(raw: Raw, streams: Callable[..., None]) -> None:
    """With OUTBOX_KEEP a sent row is marked with its entry, isn't sent again, and is deleted when it is old."""
    streams({"orders": {"OUTBOX": "always", "OUTBOX_KEEP": 60}})
    (old, new) = waiting("old", "new")
    relay = Relay("default", "default")
    relayed(relay)
    ids = [entry_id for entry_id, _ in raw.xrange("orders")]
    assert list(OutboxMessage.objects.order_by("pk").values_list("entry_id", flat=True)) == ids
    OutboxMessage.objects.filter(pk=old.pk).update(sent_at=Now() - timedelta(seconds=61))
    relay._kept_due = 0.0
    relayed(relay)
    assert [row.pk for row in OutboxMessage.objects.all()] == [new.pk]
    assert payloads(raw) == ["old", "new"]


@pytest.mark.usefixtures("database")
def test_rows_of_a_stream_that_nobody_declares_any_more_go_in_the_end(streams: Callable[..., None]) -> None:
    """Also those that waited until enough replicas had them. Where it is declared, they wait on."""
    for error in ("", ON_TOO_FEW):
        for hours in (23, 25):
            waiting(error)
            row = OutboxMessage.objects.order_by("pk").last()
            OutboxMessage.objects.filter(pk=row.pk).update(sent_at=Now() - timedelta(hours=hours), error=error)
    streams({"orders": {"OUTBOX": "always", "OUTBOX_KEEP": 200_000}})
    assert not delete_kept("default", conf.get().streams_of("default"))
    assert OutboxMessage.objects.count() == 4
    streams({"bills": {"OUTBOX": "always"}})
    assert not delete_kept("default", conf.get().streams_of("default"))
    left = OutboxMessage.objects.order_by("pk")
    assert [row.error for row in left] == ["", ON_TOO_FEW]
    assert all(row.sent_at > timezone.now() - timedelta(hours=24) for row in left)


@pytest.mark.usefixtures("database")
def test_what_the_database_does_not_take_as_sent_is_not_sent_again_and_again(raw: Raw) -> None:
    """A full disk takes no DELETE. Each try would double a batch."""
    relay, taken = Relay("default", "default"), []

    def refuse(execute: Any, sql: str, *arguments: Any) -> Any:
        if "DELETE" in sql and not taken:
            raise OperationalError("disk full")
        return execute(sql, *arguments)

    waiting(1, 2)
    with connection.execute_wrapper(refuse):
        for _ in range(3):
            with pytest.raises(OperationalError):
                relay.step(servers.get())
        taken.append(True)
        waiting(3)
        relayed(relay)
    assert payloads(raw) == [1, 2, 3]
    assert not OutboxMessage.objects.exists()


def test_what_a_server_may_have_lost_meanwhile_is_sent_again(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database took no DELETE, and the connection is another since: rather twice than never."""
    relay = Relay("default", "default")
    waiting(1)
    with monkeypatch.context() as failing:
        failing.setattr(batch_module.Batch, "settle", Mock(side_effect=OperationalError("disk full")))
        with pytest.raises(OperationalError):
            relay.step(servers.get())
    raw.flushall()
    relay.connected()
    relayed(relay)
    assert payloads(raw) == [1]


def test_a_key_that_is_another_row_by_now_is_not_taken_for_the_old_one(
    raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restore, while a relay remembers what the database didn't take."""
    relay = Relay("default", "default")
    (old,) = waiting(1)
    with monkeypatch.context() as failing:
        failing.setattr(batch_module.Batch, "settle", Mock(side_effect=OperationalError("disk full")))
        with pytest.raises(OperationalError):
            relay.step(servers.get())
    OutboxMessage.objects.all().delete()
    (new,) = waiting(2)
    OutboxMessage.objects.filter(pk=new.pk).update(id=old.pk)
    relayed(relay)
    assert payloads(raw) == [1, 2]


def test_nothing_is_sent_or_discarded_where_nothing_is_committed(
    raw: Raw, use_database: Callable[..., None], tmp_path: Path
) -> None:
    """With AUTOCOMMIT off in DATABASES: each look would send the same message, and "discarded" would be no truth."""
    where = tmp_path / "off.sqlite3"
    use_database(NAME=where)
    with connection.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    (row,) = waiting(1)
    use_database(NAME=where, AUTOCOMMIT=False)
    for _ in range(2):
        with pytest.raises(NotSupportedError, match="Take AUTOCOMMIT out of the entry 'default' of DATABASES"):
            Relay("default", "default").step(servers.get())
        raw.delete(*raw.keys("*:relay:*"))
    for verb in (discard, send_now):
        with pytest.raises(OutboxUnavailable, match="AUTOCOMMIT out of the entry"):
            verb("default", [row.pk], by="ann")
    use_database(NAME=where)
    assert OutboxMessage.objects.get() == row
    assert payloads(raw) == []
    relayed()
    assert payloads(raw) == [1]


def test_no_receiver_of_other_apps_has_to_do_with_it(raw: Raw, streams: Callable[..., None]) -> None:
    """One that hears of the deletions of all models, and raises, would have what is sent be sent again and again."""

    def refuse(*, sender: type, **_: Any) -> None:
        raise ValueError(f"{sender} is deleted by nobody")

    waiting(1)
    for signal in (pre_delete, post_delete):
        signal.connect(refuse)
    try:
        relayed()
        streams({"orders": {"OUTBOX": "always", "OUTBOX_KEEP": 1}})
        OutboxMessage.objects.create(stream="orders", sent_at=timezone.now() - timedelta(seconds=9), message_id="kept")
        delete_kept("default", conf.get().streams)
    finally:
        for signal in (pre_delete, post_delete):
            signal.disconnect(refuse)
    assert payloads(raw) == [1]
    assert not OutboxMessage.objects.exists()


def test_a_row_that_somebody_wrote_by_hand_is_told_of_as_it_is(raw: Raw) -> None:
    """What it holds may be no JSON: that ends no relay."""
    found: list[Message] = []

    def receive(*, message: Message, **_: Any) -> None:
        found.append(message)

    (row,) = waiting(1)
    OutboxMessage.objects.update(entry=json.dumps(["id", row.message_id, "data", "{"]))
    waiting(2)
    signals.message_published.connect(receive)
    try:
        relayed()
    finally:
        signals.message_published.disconnect(receive)
    assert [each.payload for each in found] == [{"id": row.message_id, "data": "{"}, 2]
    assert raw.xlen("orders") == 2
    assert not OutboxMessage.objects.exists()
