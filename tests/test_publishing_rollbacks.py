"""What a database has rolled back, and Django doesn't know of, isn't published."""

import json
import logging
import threading
from contextlib import suppress

import pytest
from django.db import DatabaseError, OperationalError, connection, models, transaction

from django_redis_streams import publish, publish_many
from django_redis_streams.outbox.models import OutboxMessage

from .support.waiting import wait_until

# Django 6.1 has another name for it.
make_savepoint = getattr(transaction, "savepoint_create", None) or transaction.savepoint

ALL = ("sqlite", "postgresql", "mariadb")


class Entry(models.Model):
    """What a transaction saves beside its messages."""

    text = models.CharField(max_length=50)

    class Meta:
        app_label = "catalogue"
        db_table = "entries_of_rollbacks"

    def __str__(self):
        return self.text


@pytest.fixture
def database(request, database_with):
    """A database as the default one, with the outbox's table and that of entries."""
    with database_with(request.param, OutboxMessage, Entry):
        yield request.param


@pytest.fixture(params=[None, "fallback", "always"])
def published(request, streams, server):
    """The payloads on the stream "orders", with each OUTBOX."""
    streams({"orders": {"OUTBOX": request.param}})
    return lambda: [json.loads(fields["data"]) for _, fields in server.raw().xrange("orders")]


def saved():
    """What is committed, and the rows of messages."""
    return [each.text for each in Entry.objects.order_by("pk")], OutboxMessage.objects.count()


@pytest.mark.parametrize("database", ALL, indirect=True)
def test_a_savepoint_by_hand_that_is_rolled_back_publishes_nothing(database, published):
    """Nor does what was published in an atomic block behind it; what was published before and afterwards is sent."""
    with transaction.atomic():
        publish("orders", 1)
        outer = make_savepoint()
        publish("orders", 2)
        inner = make_savepoint()
        publish("orders", 3)
        transaction.savepoint_commit(inner)
        with transaction.atomic():
            Entry.objects.create(text="undone")
            publish("orders", 4)
        transaction.savepoint_rollback(outer)
        publish("orders", 5)
        kept = make_savepoint()
        Entry.objects.create(text="saved")
        publish("orders", 6)
        transaction.savepoint_commit(kept)
        with transaction.atomic():
            undone = make_savepoint()
            publish("orders", 7)
            transaction.savepoint_rollback(undone)
            publish("orders", 8)
    assert published() == [1, 5, 6, 8]
    assert saved() == (["saved"], 0)


@pytest.mark.parametrize("database", ALL, indirect=True)
def test_a_savepoint_can_be_rolled_back_to_again(database, published):
    """It stays there until it is released: what was published since is dropped each time."""
    with transaction.atomic():
        savepoint = make_savepoint()
        for number in (1, 2):
            publish("orders", number)
            transaction.savepoint_rollback(savepoint)
        publish("orders", 3)
    assert published() == [3]


def test_callbacks_of_others_stay_as_django_has_them(db, published, django_capture_on_commit_callbacks):
    """Django itself keeps these at a rollback to a savepoint by hand."""
    called = []
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        savepoint = make_savepoint()
        transaction.on_commit(lambda: called.append("theirs"))
        publish("orders", 1)
        transaction.savepoint_rollback(savepoint)
    assert (published(), called) == ([], ["theirs"])


def told(caplog):
    """The log's warnings and worse, of this package."""
    ours = [each for each in caplog.records if each.name == "django_redis_streams"]
    return [each.message for each in ours if each.levelno >= logging.WARNING]


def trigger(sql):
    """Have an INSERT of the entry "refused" do this."""
    connection.cursor().execute(
        f"CREATE TRIGGER refuse BEFORE INSERT ON {Entry._meta.db_table} WHEN NEW.text = 'refused' BEGIN {sql}; END"
    )


def insert_refused():
    """By SQL: of the ORM's own errors Django knows."""
    connection.cursor().execute("INSERT INTO entries_of_rollbacks (text) VALUES ('refused')")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("nested", [False, True])
def test_what_sqlite_rolls_back_by_itself_is_not_published(database, published, caplog, nested):
    """A trigger rolls back the whole transaction, and its error is caught: nothing is committed, and the log tells."""
    trigger("SELECT RAISE(ROLLBACK, 'no such entry')")
    with transaction.atomic():
        Entry.objects.create(text="undone")
        publish_many("orders", [1, 2])
        with suppress(DatabaseError):
            if nested:
                with transaction.atomic():
                    Entry.objects.create(text="refused")
            else:
                insert_refused()
        with pytest.raises(transaction.TransactionManagementError):
            Entry.objects.create(text="in a new transaction")
    assert published() == []
    assert saved() == ([], 0)
    (line,) = told(caplog)
    assert line.startswith("2 messages of a transaction of database 'default' aren't published, as the database has")
    assert "no such entry" in line
    with transaction.atomic():
        publish("orders", 3)
    assert published() == [3]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_error_that_rolls_nothing_back_keeps_what_was_published(database, published, caplog):
    """A statement that failed is undone alone."""
    trigger("SELECT RAISE(ABORT, 'no such entry')")
    with transaction.atomic():
        publish("orders", 1)
        with suppress(DatabaseError):
            insert_refused()
        Entry.objects.create(text="saved")
    assert published() == [1]
    assert saved() == (["saved"], 0)
    assert told(caplog) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_transaction_without_messages_is_left_to_django(database, published, caplog):
    """What its program does after such an error is its own affair."""
    with transaction.atomic():
        publish("orders", 1)
    trigger("SELECT RAISE(ROLLBACK, 'no such entry')")
    with suppress(OperationalError), transaction.atomic():
        with suppress(DatabaseError):
            insert_refused()
        assert not connection.needs_rollback
    assert told(caplog) == []


def end_in_a_deadlock(first, second):
    """Ask for the row `second` in a transaction that has `first`, where another has these in the other order."""
    locked = threading.Event()

    def other():
        try:
            with transaction.atomic():
                # InnoDB rolls back the one that has changed less.
                Entry.objects.bulk_create(Entry(text="theirs") for _ in range(100))
                list(Entry.objects.select_for_update().filter(pk=second))
                locked.set()
                list(Entry.objects.select_for_update().filter(pk=first))
        finally:
            connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert locked.wait(10)
        wait_until(_somebody_waits)
        list(Entry.objects.select_for_update().filter(pk=second))
    finally:
        thread.join(10)


def _somebody_waits():
    with connection.cursor() as cursor:
        # INNODB_TRX stays as it was where it is asked more often than each tenth of a second.
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
        return int(cursor.fetchone()[1]) > 0


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_what_a_deadlock_rolls_back_is_not_published(database, published, caplog):
    """MariaDB and MySQL roll back all of the transaction. Caught, the next statement would begin a new one."""
    first, second = (Entry.objects.create(text=each).pk for each in ("first", "second"))
    with transaction.atomic():
        Entry.objects.create(text="undone")
        list(Entry.objects.select_for_update().filter(pk=first))
        publish_many("orders", [1, 2])
        with pytest.raises(OperationalError, match="Deadlock"):
            end_in_a_deadlock(first, second)
        with pytest.raises(transaction.TransactionManagementError):
            Entry.objects.create(text="in a new transaction")
    assert published() == []
    texts, rows = saved()
    assert (set(texts), rows) == ({"first", "second", "theirs"}, 0)
    (line,) = told(caplog)
    assert "2 messages of a transaction of database 'default' aren't published, as the database has rolled" in line
    assert "Deadlock" in line
    with transaction.atomic():
        publish("orders", 3)
    assert published() == [3]
