"""A handler that returns has its work committed; where it isn't, the run has failed. On SQLite and PostgreSQL."""

from collections.abc import Callable
from contextlib import closing, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connection, connections, models, transaction
from django.test.utils import isolate_apps

from django_redis_streams import handlers
from django_redis_streams.conf import GroupConfig, StreamConfig
from django_redis_streams.exceptions import NotCommitted
from django_redis_streams.handlers import handler, transactions
from django_redis_streams.keys import StreamKeys
from django_redis_streams.message import Message
from django_redis_streams.outcomes import Ack, DeadLetter, Outcome, RetryLater
from django_redis_streams.store.consume import delivery as store
from django_redis_streams.wire import Origin
from django_redis_streams.worker.execution.executor import Executor, Permission, Runs
from django_redis_streams.worker.shared.scoreboard import Slots

from .support.postgresql import forget_connections

pytestmark = pytest.mark.usefixtures("isolated_handlers")

ORIGIN = Origin(stream="orders", group="billing", key="orders")
STREAM = StreamConfig(name="orders", keys=StreamKeys("orders"))
GROUP = GroupConfig(name="billing")

with isolate_apps("tests.catalogue"):

    class Row(models.Model):
        """What handlers write: no two of one number, and of each a parent that is there at the commit."""

        n = models.IntegerField(unique=True)
        parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True)

        class Meta:
            app_label = "catalogue"
            db_table = "rows_of_handlers"

        def __str__(self) -> str:
            return str(self.n)


@pytest.fixture
def use_rows(use_database: Callable[..., None]) -> Callable[..., None]:
    """Makes this the default database, with the table of `Row` in it, and nothing else in that."""

    def use(**settings: Any) -> None:
        use_database(**settings)
        with connection.schema_editor() as editor:
            editor.execute("DROP TABLE IF EXISTS rows_of_handlers")
            editor.create_model(Row)
        forget_connections()

    return use


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, use_rows: Callable[..., None], tmp_path: Path) -> str:
    """Each of the two, as the default database; which one it is."""
    if request.param == "sqlite":
        use_rows(NAME=tmp_path / "rows.sqlite3")
    else:
        use_rows(**request.getfixturevalue("postgresql").settings)
    return str(request.param)


def run(count: int = 1) -> list[Outcome]:
    """What comes of so many messages."""
    batch = store.deliveries(ORIGIN, "orders", [(f"{n}-0", ["n", str(n)]) for n in range(1, count + 1)])
    with closing(Executor(handlers.of("orders", "billing"), GROUP, Slots(STREAM, GROUP))) as executor:
        runs = Runs([])
        for _ in executor.run(batch, Permission(lambda _: True), runs):
            pass
        while executor.coroutines.begin(lambda _: True) or executor.coroutines.busy:
            executor.coroutines.wait(0.05, until_ended=True)
            executor.coroutines.take()
    assert all(each.outcome is not None for each in batch)
    return [each.outcome for each in batch if each.outcome is not None]


def rows() -> set[int]:
    """The numbers in the table, as a new connection sees them."""
    forget_connections()
    return set(Row.objects.values_list("n", flat=True))


def add(n: int, **fields: Any) -> None:
    """Write a row."""
    Row.objects.create(n=n, **fields)


def add_again(n: int) -> None:
    """Write a row that is there already, and catch what comes of it."""
    with suppress(IntegrityError):
        add(n)


def in_sql(statement: str) -> None:
    """Say it to the database in the handler's own words."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


# ---------------------------------------------------------------- what isn't committed


def swallow() -> None:
    """Catch the error of the last query."""
    add(1)
    add_again(1)


def swallow_in_sql() -> None:
    """Catch the error of a statement in SQL. SQLite takes back that statement alone, PostgreSQL all."""
    add(1)
    with suppress(IntegrityError):
        in_sql("INSERT INTO rows_of_handlers (n) VALUES (1)")


def leave_without_savepoint() -> None:
    """Leave an inner block that has no savepoint by an exception of one's own."""
    add(1)
    with suppress(LookupError), transaction.atomic(savepoint=False):
        raise LookupError


def swallow_after_asking_inside() -> None:
    """Ask for the rollback of a savepoint, which is another thing."""
    add(1)
    with transaction.atomic():
        add(2)
        transaction.set_rollback(True)
    add_again(1)


def swallow_after_taking_it_back() -> None:
    """Ask for a rollback, and then don't."""
    add(1)
    transaction.set_rollback(True)
    transaction.set_rollback(False)
    add_again(1)


def close_all() -> None:
    """Close the connections of the thread."""
    add(1)
    connections.close_all()


def close_one() -> None:
    """Close the one that is used."""
    add(1)
    connection.close()


def replace() -> None:
    """Have Django make a new one."""
    add(1)
    connection.close()
    del connections[DEFAULT_DB_ALIAS]


def roll_back_in_sql() -> None:
    """End it by SQL, as the last of all."""
    add(1)
    in_sql("ROLLBACK")


def roll_back_in_sql_and_go_on() -> None:
    """End it by SQL, and begin another."""
    add(1)
    in_sql("ROLLBACK")
    in_sql("BEGIN")
    add(2)


def driver() -> Any:
    """The driver's own connection, of which Django's cursors see nothing."""
    assert connection.connection is not None
    return connection.connection


def roll_back_in_driver() -> None:
    """End it on the driver's connection, as the last of all."""
    add(1)
    driver().rollback()


def roll_back_in_sql_of_driver() -> None:
    """The same in SQL."""
    add(1)
    driver().execute("ROLLBACK")


def roll_back_in_driver_and_go_on() -> None:
    """End it there, and go on by Django, where psycopg begins another."""
    add(1)
    driver().rollback()
    Row.objects.count()


def close_behind_the_back_of_django() -> None:
    """Close what the driver gave."""
    add(1)
    driver().close()


def break_a_deferred_constraint() -> None:
    """Name a parent that isn't there, which is seen at the commit."""
    add(1, parent_id=99)


LOST = [
    swallow,
    leave_without_savepoint,
    swallow_after_asking_inside,
    swallow_after_taking_it_back,
    close_all,
    close_one,
    replace,
    roll_back_in_sql,
    roll_back_in_sql_and_go_on,
    roll_back_in_driver,
    roll_back_in_sql_of_driver,
    roll_back_in_driver_and_go_on,
    close_behind_the_back_of_django,
    break_a_deferred_constraint,
]


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("work", LOST)
@pytest.mark.parametrize("batch", [False, True])
def test_a_transaction_that_did_not_commit_is_a_failure_of_the_run(work: Callable[[], None], batch: bool) -> None:
    """Whatever rolled it back: nothing of it is in the database, and the message is run again."""

    @handler("orders", group="billing", atomic=True, batch=batch)
    def obey(_: Any) -> None:
        work()

    (outcome,) = run()
    assert isinstance(outcome, RetryLater)
    assert rows() == set()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("commit", [lambda: driver().commit(), lambda: driver().execute("COMMIT")])
def test_a_commit_on_the_driver_s_connection_is_a_failure_too(commit: Callable[[], None]) -> None:
    """What came before it is written, what comes after it would be in no transaction of the handler's."""

    @handler("orders", group="billing", atomic=True)
    def obey(_: Message) -> None:
        add(1)
        commit()

    (outcome,) = run()
    assert isinstance(outcome, RetryLater)
    assert "by a COMMIT or ROLLBACK" in outcome.failure.error
    assert rows() == {1}


@pytest.mark.usefixtures("database")
def test_a_handler_that_asks_the_database_nothing_is_acknowledged() -> None:
    """No transaction is open in psycopg then, and none was lost."""

    @handler("orders", group="billing", atomic=True)
    def obey(_: Message) -> None:
        assert rows  # anything but a query

    assert run(2) == [Ack(), Ack()]


def test_a_statement_that_was_refused_ends_the_transaction_where_the_database_says_so(database: str) -> None:
    """SQLite goes on after a caught error of plain SQL, PostgreSQL commits nothing any more."""

    @handler("orders", group="billing", atomic=True)
    def obey(_: Message) -> None:
        swallow_in_sql()

    (outcome,) = run()
    assert isinstance(outcome, Ack) is (database == "sqlite")
    assert rows() == ({1} if database == "sqlite" else set())


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (swallow, "transaction.set_rollback(True)"),
        (close_all, "Leave connections alone"),
        (roll_back_in_sql, "by a COMMIT or ROLLBACK"),
        (roll_back_in_driver, "on the driver's own connection"),
    ],
)
@pytest.mark.usefixtures("database")
def test_the_error_says_what_to_do_and_shows_the_caught_one(work: Callable[[], None], told: str) -> None:
    """Its text names the database and the mend; the traceback has the error that was caught."""

    @handler("orders", group="billing", atomic=True)
    def obey(_: Message) -> None:
        work()

    (outcome,) = run()
    assert isinstance(outcome, RetryLater)
    assert outcome.failure.error.startswith("NotCommitted: ")
    assert "'default'" in outcome.failure.error
    assert told in outcome.failure.error
    assert ("IntegrityError" in outcome.failure.traceback) is (work is swallow)


@pytest.mark.usefixtures("database")
def test_the_error_of_an_earlier_message_is_not_shown() -> None:
    """Django keeps the last error that marked a transaction for as long as the connection lives."""
    todo = [swallow, leave_without_savepoint]

    @handler("orders", group="billing", atomic=True)
    def obey(message: Message) -> None:
        todo[int(message.payload["n"]) - 1]()

    shown = ["IntegrityError" in each.failure.traceback for each in run(2) if isinstance(each, RetryLater)]
    assert shown == [True, False]


@pytest.mark.usefixtures("database")
def test_of_a_batch_only_the_guilty_message_fails() -> None:
    """A batch whose transaction didn't commit is run one by one, like any that raises."""

    @handler("orders", group="billing", atomic=True, batch=True)
    def obey(messages: list[Message]) -> None:
        for each in messages:
            add(int(each.payload["n"]))
            if each.payload["n"] == "3":
                add_again(3)

    outcomes = run(5)
    assert [isinstance(each, Ack) for each in outcomes] == [True, True, False, True, True]
    assert rows() == {1, 2, 4, 5}


def test_what_a_named_database_did_not_commit_is_a_failure_too(use_rows: Any, tmp_path: Path, other: Any) -> None:
    """`atomic` holds for each alias."""
    use_rows(NAME=tmp_path / "rows.sqlite3")
    with other.schema_editor() as editor:
        editor.create_model(Row)

    @handler("orders", group="billing", atomic="other")
    def obey(_: Message) -> None:
        Row.objects.using("other").create(n=1)
        with suppress(IntegrityError):
            Row.objects.using("other").create(n=1)

    (outcome,) = run()
    assert isinstance(outcome, RetryLater)
    assert "'other'" in outcome.failure.error


# ---------------------------------------------------------------- what is


def ask_for_a_rollback() -> None:
    """Do as if."""
    add(1)
    transaction.set_rollback(True)


def ask_after_an_error() -> None:
    """Catch an error, and say what shall be."""
    swallow()
    transaction.set_rollback(True)


def ask_in_a_block_without_savepoint() -> None:
    """Ask in an inner block that has none of its own to roll back."""
    add(1)
    with transaction.atomic(savepoint=False):
        transaction.set_rollback(True)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("work", [ask_for_a_rollback, ask_after_an_error, ask_in_a_block_without_savepoint])
def test_a_rollback_that_was_asked_for_is_no_failure(work: Callable[[], None]) -> None:
    """`transaction.set_rollback(True)`: nothing is written, and the message is acknowledged."""

    @handler("orders", group="billing", atomic=True)
    def obey(_: Message) -> None:
        work()

    assert run() == [Ack()]
    assert rows() == set()


def catch_outside_of_a_block() -> None:
    """What Django's documents show."""
    add(1)
    with suppress(IntegrityError), transaction.atomic():
        add(1)


def roll_a_savepoint_back() -> None:
    """Ask for the rollback of an inner block alone."""
    add(1)
    with transaction.atomic():
        add(2)
        transaction.set_rollback(True)


def be_refused_to_turn_autocommit_off() -> None:
    """Django refuses that within a transaction, and nothing has changed."""
    add(1)
    with suppress(transaction.TransactionManagementError):
        transaction.set_autocommit(False)


def do_it_by_hand() -> None:
    """Take a savepoint, roll back to it, and clear the mark."""
    add(1)
    savepoint = connection.savepoint_create() if hasattr(connection, "savepoint_create") else connection.savepoint()
    add_again(1)
    transaction.set_rollback(False)
    connection.savepoint_rollback(savepoint)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    "work", [catch_outside_of_a_block, roll_a_savepoint_back, be_refused_to_turn_autocommit_off, do_it_by_hand]
)
def test_what_is_committed_is_acknowledged(work: Callable[[], None]) -> None:
    """Errors that were caught in their own blocks do no harm."""

    @handler("orders", group="billing", atomic=True)
    def obey(_: Message) -> None:
        work()

    assert run() == [Ack()]
    assert rows() == {1}


@pytest.mark.usefixtures("database")
def test_a_failure_is_forgotten_by_the_next_message() -> None:
    """What one message did to the transaction, or asked for, is not held against another."""
    todo = [swallow, ask_for_a_rollback, close_all, roll_back_in_sql]

    @handler("orders", group="billing", atomic=True)
    def obey(message: Message) -> None:
        n = int(message.payload["n"])
        if n % 2:
            todo[n // 2]()
        else:
            add(n)

    assert [isinstance(each, Ack) for each in run(8)] == [False, True, True, True, False, True, False, True]
    assert rows() == {2, 4, 6, 8}


# ---------------------------------------------------------------- drivers and settings


def test_where_the_driver_does_not_tell_a_savepoint_does(
    use_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL's driver doesn't say whether a transaction was ended meanwhile."""
    use_rows(NAME=tmp_path / "rows.sqlite3")
    monkeypatch.setattr(transactions, "open_in_driver", lambda _: None)
    todo = [roll_back_in_sql, roll_back_in_sql_and_go_on, swallow, ask_for_a_rollback, lambda: add(9)]

    @handler("orders", group="billing", atomic=True)
    def obey(message: Message) -> None:
        todo[int(message.payload["n"]) - 1]()

    assert [isinstance(each, Ack) for each in run(5)] == [False, False, False, True, True]
    assert rows() == {9}


def test_a_database_without_autocommit_is_refused(use_rows: Any, tmp_path: Path) -> None:
    """With AUTOCOMMIT off Django never commits an atomic block: the handler isn't called in vain."""
    use_rows(NAME=tmp_path / "rows.sqlite3")
    connections.settings[DEFAULT_DB_ALIAS] = {**connections.settings[DEFAULT_DB_ALIAS], "AUTOCOMMIT": False}
    called = []
    handler("orders", group="billing", atomic=True)(called.append)
    (outcome,) = run()
    assert isinstance(outcome, RetryLater)
    assert "AUTOCOMMIT" in outcome.failure.error
    assert called == []


@pytest.mark.usefixtures("database")
def test_a_coroutine_that_hides_in_a_function_is_refused() -> None:
    """It would run after the commit, in no transaction."""

    async def work(_: Message) -> None:
        await Row.objects.acreate(n=1)

    @handler("orders", group="billing", atomic=True)
    @wraps(work)
    def obey(message: Message) -> Any:
        return work(message)

    (outcome,) = run()
    assert isinstance(outcome, RetryLater)
    assert "coroutine" in outcome.failure.error
    assert rows() == set()


# ---------------------------------------------------------------- what a handler leaves open


def begin() -> None:
    """Leave a BEGIN behind that Django knows nothing of."""
    in_sql("BEGIN")
    add(1)


def enter_atomic() -> None:
    """Leave an atomic block without its end."""
    transaction.atomic().__enter__()
    add(1)


def turn_autocommit_off() -> None:
    """Leave autocommit off."""
    transaction.set_autocommit(False)
    add(1)


def commit_by_hand() -> None:
    """Leave autocommit off, and all committed."""
    turn_autocommit_off()
    transaction.commit()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("leave", [begin, enter_atomic, turn_autocommit_off, commit_by_hand])
@pytest.mark.parametrize("kind", ["function", "batch", "coroutine"])
def test_a_transaction_that_is_left_open_is_a_failure(leave: Callable[[], None], kind: str) -> None:
    """It is rolled back, so the message isn't acknowledged; unless there is nothing in it."""
    committed = leave is commit_by_hand
    if kind == "coroutine":

        @handler("orders", group="billing")
        async def wait(_: Message) -> None:
            await sync_to_async(leave)()

    else:

        @handler("orders", group="billing", batch=kind == "batch")
        def obey(_: Any) -> None:
            leave()

    (outcome,) = run()
    assert isinstance(outcome, Ack) is committed
    assert committed or "'default' open" in outcome.failure.error
    assert rows() == ({1} if committed else set())


def test_an_error_of_the_handler_s_own_is_told_rather_than_what_it_left_open(use_rows: Any, tmp_path: Path) -> None:
    """What comes first is the cause."""
    use_rows(NAME=tmp_path / "rows.sqlite3")

    @handler("orders", group="billing")
    def obey(_: Message) -> None:
        begin()
        raise LookupError("its own")

    (outcome,) = run()
    assert isinstance(outcome, RetryLater)
    assert outcome.failure.error == "LookupError: its own"


@pytest.mark.usefixtures("database")
def test_reject_on_may_name_it() -> None:
    """What no retry will mend needs none."""

    @handler("orders", group="billing", atomic=True, reject_on=NotCommitted)
    def obey(_: Message) -> None:
        swallow()

    (outcome,) = run()
    assert isinstance(outcome, DeadLetter)
