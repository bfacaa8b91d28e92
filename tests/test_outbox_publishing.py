"""Publishing through the outbox: what is committed is on the server, or a row of the database."""

import asyncio
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import tracemalloc
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, IntegrityError, connection, connections, models, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from django_redis_streams import Message, apublish, apublish_many, publish, publish_many, publishes, signals
from django_redis_streams.exceptions import ConfigurationError, ServerRefused, ServerUnreachable, TransactionError
from django_redis_streams.model_events import _by_decorator
from django_redis_streams.outbox import writing
from django_redis_streams.outbox.listing import list_unsent
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.outbox.rows import entry_of
from django_redis_streams.publishing import committing, outboxes, sending, waiting

from .catalogue.models import Book
from .support import killed_publisher
from .support.documents import ROOT

NOWHERE = "unix:///nowhere/server.sock"


@pytest.fixture
def declare(streams):
    """Declares "orders" with this OUTBOX; `away=True` leads to no server."""

    def set_to(outbox="always", *, away=False, **options):
        streams({"orders": {"OUTBOX": outbox, **options}}, **({"URL": NOWHERE} if away else {}))

    return set_to


@pytest.fixture
def published(server):
    """The payloads on the stream "orders"."""
    return lambda: [json.loads(fields["data"]) for _, fields in server.raw().xrange("orders")]


@pytest.fixture
def postponed():
    """What `publish_postponed` was sent with."""
    found = []

    def receive(*, sender, signal, **arguments):
        found.append(arguments)

    signals.publish_postponed.connect(receive, sender=Message)
    yield found
    signals.publish_postponed.disconnect(receive, sender=Message)


@pytest.fixture
def away(postponed, failed, caplog):
    """Checks, at the end, that exactly these were postponed: by a warning and a signal each, and nothing failed."""

    def check(payloads):
        assert [each["message"].payload for each in postponed] == payloads
        assert failed == []
        said = [(each.levelname, each.message_id) for each in caplog.records]
        assert said == [("WARNING", each["message"].id) for each in postponed]
        assert all("keeps it, and the relay (in runconsumers) tries again: " in each.message for each in caplog.records)
        assert kept() == payloads

    return check


def kept(using="default"):
    """The payloads in the table."""
    return [payload_of(row) for row in OutboxMessage.objects.using(using).order_by("id")]


def due():
    """How many rows the relay may send now, by the database's clock."""
    return OutboxMessage.objects.filter(next_try_at__lte=Now()).count()


def payload_of(row):
    """What the entry of a row carries."""
    fields = entry_of(row)
    return json.loads(dict(zip(fields[::2], fields[1::2], strict=True))["data"])


class Undo(Exception):
    """Rolls a transaction back."""


@contextmanager
def rolled_back():
    """A transaction, or a savepoint within one, that comes to nothing."""
    with suppress(Undo), transaction.atomic():
        yield
        raise Undo


@contextmanager
def statements():
    """The statements on the outbox's table, each by its first word, without those of transactions."""
    found = []
    with CaptureQueriesContext(connection) as captured:
        yield found
    table = OutboxMessage._meta.db_table
    found += [each["sql"] for each in captured.captured_queries if table in each["sql"]]


def verbs(found):
    """Which statements these are."""
    return [next(word for word in ("INSERT", "UPDATE", "DELETE", "SELECT") if f"{word} " in each) for each in found]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request, database_with):
    """Each database, as the default one, with the outbox's table and that of books."""
    with database_with(request.param, OutboxMessage, Note):
        yield request.param


def test_a_publisher_that_is_killed_loses_nothing_that_is_committed(server, streams, database):
    """At each step: before the commit nothing has happened; after it there is a row, until the message is sent."""
    shown = connection.settings_dict
    given = {name: str(shown[name]) for name in ("ENGINE", "NAME", "USER", "HOST")}
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "KILLED_DATABASE": json.dumps({**given, "OPTIONS": shown["OPTIONS"]}),
    }
    # One after another: on SQLite a transaction that reads first can't wait for one that writes.
    for step in killed_publisher.STEPS:
        program = [sys.executable, "-m", killed_publisher.__name__, step]
        assert subprocess.run(program, env=environment, cwd=ROOT, timeout=50, check=False).returncode == -signal.SIGKILL
    assert sorted(kept()) == ["after it was sent", "after the commit"]
    assert due() == 0
    assert OutboxMessage.objects.filter(next_try_at__lte=Now() + timedelta(seconds=outboxes.LEASE)).count() == 2
    assert [json.loads(fields["data"]) for _, fields in server.raw().xrange("orders")] == ["after it was sent"]


class Note(models.Model):
    """What a transaction saves beside its messages."""

    text = models.CharField(max_length=50)

    class Meta:
        app_label = "catalogue"
        db_table = "notes_of_the_outbox"

    def __str__(self):
        return self.text


@pytest.mark.parametrize("count", [1, 1_000])
@pytest.mark.parametrize("many", [False, True])
def test_a_transaction_costs_one_insert_and_one_delete(declare, published, database, count, many):
    """However many messages it publishes, up to a thousand. Nothing of it is left in the table."""
    declare()
    writing.check_table("default")
    with statements() as found, transaction.atomic():
        if many:
            publish_many("orders", range(count))
        else:
            for number in range(count):
                publish("orders", number)
        assert found == []
    assert verbs(found) == ["INSERT", "DELETE"]
    assert published() == list(range(count))
    assert kept() == []


def test_more_than_a_thousand_take_statements_of_a_thousand(declare, published, database):
    """So none grows beyond what a database takes."""
    declare()
    with statements() as found, transaction.atomic():
        publish_many("orders", range(2_001))
    assert verbs(found)[-6:] == ["INSERT"] * 3 + ["DELETE"] * 3
    assert len(published()) == 2_001
    assert kept() == []


def test_large_messages_take_statements_of_a_bounded_size(declare, published, database):
    """A server of MariaDB takes no statement of more than 16 MiB, and then the transaction would be rolled back."""
    declare()
    with statements() as found, transaction.atomic():
        publish_many("orders", ['"' * 500_000] * 9)
    assert verbs(found)[-6:] == ["INSERT"] * 5 + ["DELETE"]
    assert [len(each) for each in published()] == [500_000] * 9
    assert kept() == []


def test_rows_are_inserted_as_the_last_statement_before_the_commit(declare, database):
    """The lock of a row, and the time that it is the sender's alone, are short however long the transaction is."""
    declare()
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        publish("orders", 1)
        Note.objects.create(text="last")
    said = [each["sql"] for each in captured.captured_queries]
    note, row, commit = (
        next(at for at, sql in enumerate(said) if part in sql)
        for part in ("notes_of_the_outbox", f"INSERT INTO {writing._table(connection)}", "COMMIT")
    )
    assert note < row
    assert commit == row + 1


def test_a_rollback_inserts_nothing(declare, published, database):
    """Neither that of the transaction, nor of a savepoint in it."""
    declare(away=True)
    with rolled_back():
        publish("orders", "never")
    with transaction.atomic():
        publish("orders", 1)
        with rolled_back():
            publish("orders", "never")
            with transaction.atomic():
                publish("orders", "never")
        publish("orders", 2)
    assert kept() == [1, 2]
    assert published() == []


def test_what_is_to_be_rolled_back_asks_no_database(declare, database):
    """A transaction that takes no query any more."""
    declare()
    writing._have_table.clear()
    with transaction.atomic():
        transaction.set_rollback(True)
        publish("orders", 1)


def test_what_cannot_be_sent_after_the_commit_is_a_row(declare, database, away):
    """The relay may send it at once: the sender has given its lease back, by the database's clock."""
    declare(away=True)
    with transaction.atomic():
        message = publish("orders", 1, type="order.paid", key="k\0é", headers={"a": "é"})
        publish_many("orders", [2, 3])
    away([1, 2, 3])
    row = OutboxMessage.objects.first()
    assert (row.message_id, row.stream, row.lane) == (message.id, "orders", "default")
    assert row.entry.isascii()
    assert "k\0é" in entry_of(row)
    assert (row.attempts, row.error, row.sent_at, row.entry_id) == (0, "", None, "")
    assert timedelta(0) <= row.next_try_at - row.created_at < timedelta(seconds=15)
    assert due() == 3


@pytest.mark.parametrize("keep", [None, 60])
def test_what_was_not_sent_is_released_by_one_update(declare, published, server, database, keep):
    """However many calls couldn't be sent, and beside what was: that is settled as ever."""
    declare(OUTBOX_KEEP=keep, LANES=["high", "default"])
    server.raw().set("{orders}:lane:high", "taken")
    writing.check_table("default")
    with statements() as found, transaction.atomic():
        publish("orders", "refused", lane="high")
        publish_many("orders", range(3))
        publish_many("orders", ["refused"] * 300, lane="high")
    assert verbs(found) == ["INSERT", "DELETE" if keep is None else "UPDATE", "UPDATE"]
    assert published() == [0, 1, 2]
    waiting = OutboxMessage.objects.filter(sent_at=None)
    assert [payload_of(row) for row in waiting.filter(next_try_at__lte=Now())] == ["refused"] * 301
    assert waiting.count() == 301
    assert OutboxMessage.objects.count() == (301 if keep is None else 304)


def test_nothing_is_released_before_all_is_sent(declare, database, postponed):
    """The relay takes no row of a transaction of which others are still being sent."""
    seen = []
    declare(away=True)
    with transaction.atomic():
        publish("orders", 1)
        transaction.on_commit(lambda: seen.append(due()))
        publish("orders", 2)
    assert (seen, due(), len(postponed)) == ([0], 2, 2)


def test_a_release_that_fails_is_logged(declare, database, monkeypatch, caplog, *, postponed):
    """The transaction is committed, and the lease ends by itself."""
    declare(away=True)

    def fail(*_):
        raise DatabaseError("gone")

    monkeypatch.setattr(writing, "release", fail)
    with transaction.atomic():
        publish("orders", 1)
    assert (kept(), due(), len(postponed)) == ([1], 0, 1)
    *_, record = caplog.records
    assert record.levelname == "WARNING"
    assert "1 messages that couldn't be sent wait in the outbox of database 'default'" in record.message
    assert "gone" in record.message


def test_what_the_server_refuses_after_the_commit_is_a_row(declare, server, database, away):
    """Its memory may be full now, and won't be for ever."""
    declare()
    server.raw().set("orders", "taken")
    with transaction.atomic():
        publish("orders", 1)
    away([1])


def test_settings_that_broke_before_the_commit_leave_the_row(declare, streams, database, postponed, failed):
    """Whatever it is that fails."""
    declare()
    with transaction.atomic():
        publish("orders", 1)
        streams(OPTIONS={"no_such_option": 1})
    assert (len(postponed), failed, kept()) == (1, [], [1])


@pytest.mark.parametrize("error", [DatabaseError, ZeroDivisionError, KeyboardInterrupt])
def test_an_insert_that_fails_rolls_the_transaction_back(declare, published, database, monkeypatch, error):
    """Nothing is half done: neither saved, nor sent, nor left open for the next transaction."""
    declare()
    insert = writing.insert

    def fail(*arguments):
        insert(*arguments)
        raise error

    def save():
        Note.objects.create(text="never")
        publish("orders", "never")

    monkeypatch.setattr(writing, "insert", fail)
    with pytest.raises(error):
        transaction.atomic(save)()
    monkeypatch.undo()
    with transaction.atomic():
        publish("orders", 1)
    assert published() == [1]
    assert (kept(), Note.objects.count()) == ([], 0)


def test_a_commit_that_fails_leaves_no_row(declare, published, transactional_db):
    """A constraint that is checked at the commit takes the rows along."""
    declare()

    def save():
        publish("orders", "never")
        Book.objects.create(title="Emma", author_id=7)

    with pytest.raises(IntegrityError):
        transaction.atomic(save)()
    assert (published(), kept()) == ([], [])


def test_what_takes_too_long_after_the_commit_is_left_to_the_relay(
    declare, published, database, monkeypatch, caplog, *, postponed
):
    """A slow COMMIT, or somebody's slow callback: the relay may be sending it by then, so nobody else does."""
    declare()
    clock = [0.0]
    monkeypatch.setattr(committing.time, "monotonic", lambda: clock[0])
    with caplog.at_level(logging.DEBUG, logger="django_redis_streams"), transaction.atomic():
        publish("orders", "in time")
        transaction.on_commit(lambda: clock.__setitem__(0, outboxes.LEASE / 2))
        publish("orders", "too late")
        publish_many("orders", ["too late, too"])
    monkeypatch.undo()
    assert published() == ["in time"]
    assert kept() == ["too late", "too late, too"]
    assert due() == 0
    assert [each.levelname for each in caplog.records if "left to the relay" in each.message] == ["DEBUG"] * 2
    assert postponed == []


def test_a_slow_callback_leaves_no_row_of_what_is_sent(declare, published, database):
    """The relay would send it once more if the callback takes longer than the lease."""
    declare()
    seen = []
    with transaction.atomic():
        publish("orders", 1)
        publish("orders", 2)
        transaction.on_commit(lambda: seen.extend(kept()))
        publish("orders", 3)
    assert seen == [3]
    assert (published(), kept()) == ([1, 2, 3], [])


def test_a_slow_receiver_leaves_no_row_of_what_is_sent(declare, published, database):
    """The relay would send it once more if receivers take longer than the lease."""
    declare()
    seen = []

    def receive(*, sender, signal, **arguments):
        seen.append(kept())

    signals.message_published.connect(receive, sender=Message)
    try:
        with transaction.atomic():
            publish("orders", 1)
            publish_many("orders", [2, 3])
    finally:
        signals.message_published.disconnect(receive, sender=Message)
    assert seen == [[2, 3], [], []]
    assert (published(), kept()) == ([1, 2, 3], [])


@pytest.mark.parametrize("by_hand", ["commit", "run_and_clear_commit_hooks"])
def test_a_commit_by_hand_that_django_refuses_changes_nothing(declare, published, database, by_hand):
    """Nothing is sent before the commit, and the rows are inserted once."""
    declare()
    with transaction.atomic():
        publish("orders", 1)
        with pytest.raises(transaction.TransactionManagementError):
            getattr(connection, by_hand)()
        assert published() == []
    assert (published(), kept()) == ([1], [])


def test_a_transaction_that_is_open_for_long_is_sent_at_its_commit(declare, published, database, monkeypatch):
    """The lease begins at the end of a transaction, so it may last as long as it likes."""
    declare()
    clock = [0.0]
    monkeypatch.setattr(committing.time, "monotonic", lambda: clock[0])
    with transaction.atomic():
        publish("orders", 1)
        clock[0] += 60
    assert (published(), kept()) == ([1], [])


def test_a_delete_that_fails_is_logged(declare, published, database, monkeypatch, caplog):
    """The message is on the server, and may come once more: no error of a transaction that is committed."""
    declare()

    def fail(*_):
        raise DatabaseError("gone")

    monkeypatch.setattr(writing, "settle", fail)
    with transaction.atomic():
        publish("orders", 1)
    assert (published(), kept()) == ([1], [1])
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "1 messages are sent" in record.message
    assert "gone" in record.message


def test_sent_rows_are_kept_and_marked(declare, published, database, server):
    """With OUTBOX_KEEP, by one UPDATE: when they were sent, and as which entry."""
    declare(OUTBOX_KEEP=60)
    writing.check_table("default")
    with statements() as found, transaction.atomic():
        publish_many("orders", range(300))
        publish("orders", 300)
    assert verbs(found) == ["INSERT", "UPDATE"]
    entries = [(identity, fields["id"]) for identity, fields in server.raw().xrange("orders")]
    assert list(OutboxMessage.objects.order_by("id").values_list("entry_id", "message_id")) == entries
    assert OutboxMessage.objects.filter(sent_at__lte=Now(), sent_at__gte=Now() - timedelta(seconds=30)).count() == 301


def test_fallback_costs_nothing_while_all_is_well(declare, published, database):
    """No statement but those of the transaction."""
    declare("fallback")
    writing.check_table("default")
    with statements() as found, transaction.atomic():
        publish("orders", 1)
    assert (found, published()) == ([], [1])


@pytest.mark.parametrize("outbox", ["always", "fallback"])
@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("many", [False, True])
def test_a_server_that_is_away_makes_rows(declare, away, database, outbox, within, *, many):
    """In a transaction and outside one, in both modes. No call fails."""
    declare(outbox, away=True)
    with transaction.atomic() if within else nullcontext():
        if many:
            assert publish_many("orders", range(3)) == 3
        else:
            assert [publish("orders", number).payload for number in range(3)] == [0, 1, 2]
    away([0, 1, 2])
    assert due() == 3


def test_an_outage_keeps_nothing_in_memory(declare, transactional_db, caplog):
    """The thread believes for a while that the server is away; what it had sent isn't held by that error."""
    declare(away=True)
    publish("orders", 1)
    with caplog.at_level(logging.CRITICAL, logger="django_redis_streams"):
        sending._unreachable.__dict__.clear()
        tracemalloc.start()
        try:
            publish_many("orders", ["x" * 500_000] * 4)
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert held < 500_000


def test_chunks_outside_a_transaction_make_rows(declare, away, transactional_db):
    """So do those of more than fit into memory."""
    declare(away=True)
    assert publish_many("orders", iter(range(5)), chunk_size=2) == 5
    away([0, 1, 2, 3, 4])


def test_the_unsent_rest_of_many_makes_rows(declare, published, proxy, streams, transactional_db, *, postponed):
    """Nothing is missing where the connection was lost half-way; what nobody knows of comes twice at most."""
    streams({"orders": {"OUTBOX": "fallback"}}, URL=proxy.url)
    publish("orders", "connected")
    proxy.lose_reply_to("XADD")
    assert publish_many("orders", range(1_000)) == 1_000
    assert {*published(), *kept()} == {"connected", *range(1_000)}
    assert len(postponed) == len(kept()) > 0


def test_outside_a_transaction_a_refusal_is_raised(declare, server, transactional_db, postponed):
    """The caller can do something about it."""
    declare()
    server.raw().set("orders", "taken")
    with pytest.raises(ServerRefused):
        publish("orders", 1)
    assert (kept(), postponed) == ([], [])


def broken(monkeypatch, declare, outbox, **options):
    """The database takes no row."""

    def fail(*_):
        raise DatabaseError("disk full")

    monkeypatch.setattr(writing, "insert", fail)
    declare(outbox, away=True, **options)


@pytest.mark.parametrize("outbox", ["always", "fallback"])
def test_outside_a_transaction_what_neither_takes_is_raised(declare, transactional_db, monkeypatch, outbox):
    """With both errors."""
    broken(monkeypatch, declare, outbox)
    for call in (lambda: publish("orders", 1), lambda: publish_many("orders", [1, 2])):
        with pytest.raises(
            ServerUnreachable, match=r"nowhere.* Nor could .*'default'.* DatabaseError: disk full"
        ) as told:
            call()
        assert told.value.sent == 0


def test_after_a_commit_what_neither_takes_is_told(
    declare, transactional_db, monkeypatch, failed, postponed, *, caplog
):
    """As without an outbox, with both errors in the log."""
    broken(monkeypatch, declare, "fallback")
    with transaction.atomic():
        publish("orders", 1)
    assert [each["message"].payload for each in failed] == [1]
    assert postponed == []
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "nowhere" in record.message
    assert "disk full" in record.message


@pytest.mark.parametrize("outbox", ["always", "fallback"])
@pytest.mark.parametrize("within", [True, False])
def test_events_of_models_are_kept(declare, away, transactional_db, outbox, within):
    """In the transaction of the save, and where the save is committed already."""
    declare(outbox, away=True)
    publishes("orders", on=("created",), fields=("title",))(Book)
    try:
        with transaction.atomic() if within else nullcontext():
            Book.objects.create(title="Emma")
    finally:
        _by_decorator.pop().disconnect()
    away([{"title": "Emma"}])


def test_coroutines_keep_too(declare, away, transactional_db):
    """In their transaction, and outside one."""
    declare(away=True)

    async def coroutine():
        await apublish("orders", 1)
        within = transaction.atomic()
        await sync_to_async(within.__enter__)()
        await apublish("orders", 2)
        await apublish_many("orders", [3, 4])
        await sync_to_async(within.__exit__)(None, None, None)
        await sync_to_async(connections.close_all)()

    asyncio.run(coroutine())
    away([1, 2, 3, 4])


def test_delayed_messages_and_lanes_are_kept(declare, transactional_db):
    """When a message is due is in its row: so long after the row was made, or at that moment."""
    declare(away=True, LANES=["high", "default"])
    at = datetime(2040, 1, 1, tzinfo=UTC)
    with transaction.atomic():
        publish("orders", 1, delay=2.5, lane="high")
        publish("orders", 2, at=at)
    rows = OutboxMessage.objects.order_by("id").values_list("lane", "delay_ms", "due_ms")
    assert list(rows) == [("high", 2_500, None), ("default", None, int(at.timestamp() * 1000))]


def test_delayed_messages_and_lanes_are_sent(declare, server, transactional_db):
    """And their rows deleted, or marked without an entry: a delayed message has none yet."""
    declare(LANES=["high", "default"], OUTBOX_KEEP=60)
    with transaction.atomic():
        publish("orders", 1, delay=60)
        publish("orders", 2, lane="high")
    assert server.raw().zcard("{orders}:delayed") == 1
    rows = OutboxMessage.objects.order_by("id").values_list("entry_id", flat=True)
    assert [bool(each) for each in rows] == [False, True]
    assert not OutboxMessage.objects.filter(sent_at=None).exists()


@pytest.mark.django_db
def test_a_captured_commit_sends_without_a_row(declare, published, django_capture_on_commit_callbacks, caplog):
    """The transaction of a TestCase never commits: its messages are sent as ever, and nothing is wrong."""
    declare()
    with statements() as found, django_capture_on_commit_callbacks(execute=True):
        publish("orders", 1)
    assert verbs([each for each in found if "sqlite_master" not in each]) == []
    assert published() == [1]
    assert caplog.records == []


def test_a_commit_past_the_hook_is_told_of_once(declare, published, use_database, tmp_path, caplog, *, monkeypatch):
    """Should a later Django commit in another way, the promise isn't lost without a word."""
    declare()
    monkeypatch.setattr(waiting, "_without_rows", set())
    use_database(NAME=tmp_path / "later.sqlite3")
    with connection.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    for number in range(2):
        with transaction.atomic():
            publish("orders", number)
            vars(connections["default"]).pop("commit", None)
    assert published() == [0, 1]
    assert [(each.levelname, "outbox has no row" in each.message) for each in caplog.records] == [("ERROR", True)]


def test_foreign_callback_that_raises_keeps_nothing_from_being_sent(declare, published, database):
    """Those before it and after it are sent, and their rows deleted: those before it before it is called."""
    declare()
    writing.check_table("default")

    def fail():
        raise Undo

    def save():
        publish("orders", 1)
        transaction.on_commit(fail)
        publish("orders", 2)

    with statements() as found, pytest.raises(Undo):
        transaction.atomic(save)()
    assert verbs(found) == ["INSERT", "DELETE", "DELETE"]
    assert (published(), kept()) == ([1, 2], [])


@pytest.mark.parametrize("outbox", ["always", "fallback"])
def test_without_the_app_the_call_raises(declare, transactional_db, monkeypatch, outbox):
    """In a transaction and outside one, though the server is well: later nobody could be told."""
    declare(outbox)
    monkeypatch.setattr(outboxes, "_registered", [])
    for context in (transaction.atomic, nullcontext):
        with context(), pytest.raises(ConfigurationError, match=r"'orders'.*isn't in INSTALLED_APPS"):
            publish("orders", 1)


def test_without_the_table_the_call_raises_and_the_transaction_goes_on(declare, published, postgresql, use_database):
    """No statement fails for it: a failed one would end the transaction of PostgreSQL."""
    declare()
    use_database(**postgresql.settings)
    writing._have_table.discard("default")
    with transaction.atomic():
        command = "manage.py migrate django_redis_streams_outbox --database=default"
        with pytest.raises(ConfigurationError, match=rf"no table .*Run `{command}`"):
            publish("orders", 1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    assert published() == []


class NoOther:
    """A router that keeps the table out of "other"."""

    def allow_migrate(self, db, *_, **__):
        """Asked by Django."""
        return db != "other"


@pytest.mark.usefixtures("transactional_db")
def test_a_table_that_no_relay_looks_into_takes_no_rows(declare, other, settings, published):
    """It is there, and a router forbids it: rows would wait there for ever."""
    with other.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    writing._have_table.discard("other")
    settings.DATABASE_ROUTERS = [NoOther()]
    declare()
    with (
        transaction.atomic(using="other"),
        pytest.raises(ConfigurationError, match=r"keeps the app .* out of .*'other'"),
    ):
        publish("orders", 1, using="other")
    publish("orders", 2, using="other")
    assert published() == [2]
    declare(away=True)
    with pytest.raises(ServerUnreachable, match=r"Nor could the outbox .* keep it: .* out of database 'other'"):
        publish("orders", 3, using="other")
    assert not OutboxMessage.objects.using("other").exists()


def test_rows_are_in_the_database_that_is_named(declare, away, transactional_db, other):
    """`using` says in whose transaction they are, and whose table is looked for."""
    declare(away=True)
    writing._have_table.discard("other")
    with transaction.atomic(using="other"), pytest.raises(ConfigurationError, match="Database 'other' has no table"):
        publish("orders", 1, using="other")
    with other.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    with transaction.atomic(using="other"):
        publish("orders", 2, using="other")
    publish("orders", 3, using="other")
    writing._have_table.discard("other")
    assert (kept("other"), kept()) == ([2, 3], [])


def test_databases_without_statements_of_their_own_use_those_of_the_orm(declare, away, transactional_db, monkeypatch):
    """Such as Oracle."""
    monkeypatch.setattr(writing, "_TIMES", {})
    declare(OUTBOX_KEEP=60)
    with transaction.atomic():
        publish_many("orders", range(2))
    assert OutboxMessage.objects.exclude(sent_at=None).exclude(entry_id="").count() == 2
    OutboxMessage.objects.all().delete()
    declare(away=True)
    with transaction.atomic():
        publish_many("orders", range(3))
    away([0, 1, 2])
    assert due() == 3


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_the_delete_does_not_wait_for_the_disk_of_postgresql(declare, database):
    """It is committed asynchronously, and what follows is not."""
    declare()
    with statements() as found, transaction.atomic():
        publish("orders", 1)
    assert "synchronous_commit" in found[-1]
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_a_key_is_committed_whatever_characters_a_column_can_hold(declare, published, database):
    """Of MySQL's old tables, those of Latin 1: the entry is ASCII, and no column has the key."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {OutboxMessage._meta.db_table} CONVERT TO CHARACTER SET latin1")
    declare(away=True)
    with transaction.atomic():
        publish("orders", 1, key="漢字", type="Zahlung ✓")
    assert kept() == [1]


@pytest.mark.parametrize("outbox", ["always", "fallback"])
@pytest.mark.parametrize("where", [nullcontext, transaction.atomic])
@pytest.mark.usefixtures("transactional_db")
def test_nothing_to_publish_is_nothing(declare, published, outbox, where):
    """An empty iterable is no error, in a transaction and outside."""
    declare(outbox)
    with where():
        assert publish_many("orders", []) == 0
    assert published() == []


@pytest.mark.parametrize("outbox", ["always", "fallback", None])
def test_nothing_is_kept_where_nobody_commits(declare, use_database, tmp_path, outbox):
    """With AUTOCOMMIT off in DATABASES, also before the connection is opened: a row would be rolled back at its end."""
    use_database(NAME=tmp_path / "off.sqlite3")
    with connection.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    use_database(NAME=tmp_path / "off.sqlite3", AUTOCOMMIT=False)
    declare(outbox, away=True)
    with pytest.raises(TransactionError, match=r"Autocommit of database 'default' is off.*AUTOCOMMIT out of the entry"):
        publish("orders", 1)
    assert connection.connection is None


@pytest.fixture
def with_postgresql(postgresql, use_database):
    """PostgreSQL as the default database, with the outbox's table."""
    use_database(**postgresql.settings)
    with connection.schema_editor() as editor:
        editor.create_model(OutboxMessage)


def publish_and_catch(payload):
    """Publish in a transaction, and catch the error of a query in it."""
    with transaction.atomic():
        publish("orders", payload)
        with suppress(DatabaseError):
            connection.cursor().execute("SELECT 1/0")


@pytest.mark.parametrize("outbox", ["fallback", None])
@pytest.mark.parametrize("away", [False, True])
def test_what_postgresql_rolls_back_at_a_commit_is_not_published(
    declare, published, with_postgresql, caplog, failed, *, outbox, away
):
    """It does so without an error where that of a query was caught, and Django calls the callbacks all the same."""
    declare(outbox, away=away)
    called = []
    with transaction.atomic():
        OutboxMessage.objects.create(message_id="saved", entry="[]")
        publish_many("orders", [1, 2])
        transaction.on_commit(lambda: called.append("theirs"))
        with suppress(DatabaseError):
            connection.cursor().execute("SELECT 1/0")
    assert called == ["theirs"]
    assert (published(), kept(), failed) == ([], [], [])
    (record,) = caplog.records
    assert record.message.startswith("2 messages of a transaction of database 'default' aren't published")
    with transaction.atomic():
        publish("orders", 3)
    assert published() == ([] if away else [3])


@pytest.mark.parametrize("use_tz", [False, True])
def test_lists_tell_the_time_whatever_zone_a_database_goes_by(declare, database, settings, use_tz):
    """SQLite goes by UTC, PostgreSQL by that of the project, MariaDB by its session's."""
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Asia/Kathmandu"
    if database == "mariadb":
        connection.cursor().execute("SET time_zone = '-03:00'")
    declare(away=True)
    before = datetime.now(UTC)
    publish("orders", 1, delay=3600)
    (row,) = list_unsent().rows
    for told in (row.created, row.next_try, row.read_at, row.due - timedelta(hours=1)):
        assert abs(told - before) < timedelta(seconds=10)
    assert 0 <= row.age.total_seconds() < 10


@pytest.mark.parametrize("first", ["always", "fallback"])
def test_what_postgresql_would_roll_back_at_a_commit_is_an_error_where_rows_are_inserted(
    declare, published, with_postgresql, first
):
    """Whatever this connection has published before: nobody is to take it for committed."""
    declare(first)
    with transaction.atomic():
        publish("orders", 1)
    declare("always")
    with pytest.raises(DatabaseError, match="transaction is aborted"):
        publish_and_catch(2)
    assert (published(), kept()) == ([1], [])
