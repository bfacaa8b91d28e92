"""The looks at the outbox on PostgreSQL, where an error ends a transaction and rows can be locked one by one."""

import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import connection, transaction

from django_redis_streams.outbox.actions import discard, send_now
from django_redis_streams.outbox.figures import figures
from django_redis_streams.outbox.listing import find_unsent, list_unsent
from django_redis_streams.outbox.models import OutboxMessage

from .support import unsent
from .support.postgresql import Postgresql

pytestmark = pytest.mark.usefixtures("streams")


@pytest.fixture(autouse=True)
def _table(postgresql: Postgresql, use_database: Callable[..., None]) -> Iterator[None]:
    """The table, empty, in a schema of its own: other tests have theirs."""
    use_database(**postgresql.settings, OPTIONS={"options": "-c search_path=looks"})
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA looks")
    with connection.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA looks CASCADE")


def test_rows_are_counted_and_list_unsent() -> None:
    """As on SQLite."""
    late, refused, kept = unsent.row(ago=95, next_try=-90), unsent.refused("OOM"), unsent.sent()
    (database,) = figures()
    told = database.streams["orders"]
    assert (told.unsent, told.overdue, told.refused, told.kept, told.error) == (2, 1, 1, 1, "OOM")
    assert 90 <= told.late < 95 <= told.oldest < 100
    assert [each.pk for each in list_unsent().rows] == [late.pk, refused.pk]
    (found,) = find_unsent("default", [kept.pk])
    assert found.sent is not None


def test_a_missing_table_ends_no_transaction() -> None:
    """Of a request, with ATOMIC_REQUESTS."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {OutboxMessage._meta.db_table}")
    with transaction.atomic():
        (problem,) = list_unsent().problems
        assert "has no table" in str(problem.error)
        assert "has no table" in str(figures()[0].problem)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")


def test_a_text_that_the_database_would_refuse_finds_nothing() -> None:
    """It has no NUL, and no half characters."""
    unsent.row()
    for text in ("a\0b", "\ud800", "\udcff"):
        page = list_unsent(stream=text)
        assert (list(page.rows), list(page.problems)) == ([], [])


def test_what_a_relay_holds_is_being_sent() -> None:
    """It is neither discarded nor sent once more, and nobody waits for the relay."""
    held, free = unsent.refused(), unsent.refused()
    locked, ended = threading.Event(), threading.Event()

    def relay() -> None:
        with transaction.atomic():
            list(OutboxMessage.objects.select_for_update().filter(pk=held.pk))
            locked.set()
            ended.wait(10)
        connection.close()

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        assert locked.wait(10)
        every = [held.pk, free.pk]
        assert send_now("default", every, by="ann") == [free.pk]
        assert discard("default", every, by="ann") == [free.pk]
    finally:
        ended.set()
        thread.join()
    assert list(OutboxMessage.objects.values_list("pk", flat=True)) == [held.pk]


def test_an_insert_fills_no_index_that_nobody_asks() -> None:
    """The id's uniqueness needs one index, not a second for LIKE."""
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, OutboxMessage._meta.db_table)
    indexes = sorted(tuple(each["columns"]) for each in found.values() if each["index"] or each["unique"])
    assert indexes == [("id",), ("key_hash", "id"), ("message_id",)]
