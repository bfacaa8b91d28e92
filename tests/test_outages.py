"""Databases that are locked, deadlocked or lost: no fault of a handler's, so it uses up no retry."""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.db import connections as databases

from django_redis_streams import conf, connections
from django_redis_streams.exceptions import NotCommitted
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.outcomes import Failure, RetryLater
from django_redis_streams.store.consume.delivery import Delivery
from django_redis_streams.store.consume.promote import promote
from django_redis_streams.testing import drain
from django_redis_streams.worker.execution.outages import unavailable_database

from .support import states
from .support.books import letters, totals
from .support.postgresql import forget_connections
from .support.waiting import wait_until
from .support.workers import working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
NO_RETRIES = {"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 0}}}}


# ---------------------------------------------------------------- which errors


def error_of(work: Callable[[], object]) -> BaseException:
    """What it raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011  whatever it is
        work()
    return raised.value


def say(statement: str, alias: str = "default") -> None:
    """Execute it."""
    with databases[alias].cursor() as cursor:
        cursor.execute(statement)


def caused(error: BaseException, cause: BaseException) -> BaseException:
    """Django's error, as it wraps a driver's."""
    error.__cause__ = cause
    return error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else writes into a database of SQLite, and takes long."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def ended(server: Any) -> Iterator[None]:
    """PostgreSQL is away."""
    server.end()
    try:
        yield
    finally:
        server.start()


@pytest.fixture
def sqlite(use_database: Callable[..., None], tmp_path: Path) -> Path:
    """A database of SQLite as Django makes it without options, that waits for nobody; with a table."""
    path = tmp_path / "outages.sqlite3"
    use_database(NAME=path, OPTIONS={"timeout": 0})
    say("CREATE TABLE done (n integer UNIQUE)")
    forget_connections()
    return path


@pytest.fixture
def in_postgresql(postgresql: Any, use_database: Callable[..., None]) -> Any:
    """PostgreSQL as the default database, with an empty table."""
    use_database(**postgresql.settings)
    say("DROP TABLE IF EXISTS done")
    say("CREATE TABLE done (n integer UNIQUE)")
    forget_connections()
    return postgresql


def test_a_locked_database_of_sqlite_is_unavailable(sqlite: Path) -> None:
    """To whoever reads, writes, or begins to; a snapshot that is too old to write from, too."""
    with locked(sqlite):
        assert unavailable_database(error_of(lambda: say("SELECT * FROM done")))
        assert unavailable_database(error_of(lambda: say("INSERT INTO done VALUES (1)")))
        assert unavailable_database(error_of(lambda: say("BEGIN IMMEDIATE")))
    say("PRAGMA journal_mode=WAL")
    with transaction.atomic():
        say("SELECT * FROM done")
        with closing(sqlite3.connect(sqlite)) as other:
            other.execute("INSERT INTO done VALUES (1)")
            other.commit()
        late = error_of(lambda: say("INSERT INTO done VALUES (2)"))
    assert unavailable_database(late)
    assert isinstance(late.__cause__, sqlite3.OperationalError)
    assert late.__cause__.sqlite_errorname == "SQLITE_BUSY_SNAPSHOT"


def test_a_database_of_sqlite_whose_directory_is_gone_is_unavailable(use_database: Any, tmp_path: Path) -> None:
    """A volume that isn't mounted may be, later."""
    use_database(NAME=tmp_path / "gone" / "db.sqlite3")
    assert unavailable_database(error_of(lambda: say("SELECT 1")))


@pytest.mark.parametrize(
    "statement", ["SELECT * FROM nothing", "SELECT n + FROM done", "INSERT INTO done VALUES (1), (1)", "SELECT * FROM"]
)
@pytest.mark.parametrize("which", ["sqlite", "in_postgresql"])
def test_faults_of_the_code_are_not(request: pytest.FixtureRequest, which: str, statement: str) -> None:
    """SQLite's "no such table" is an OperationalError, too."""
    request.getfixturevalue(which)
    assert not unavailable_database(error_of(lambda: say(statement)))


def test_an_error_that_a_project_raises_itself_is_not() -> None:
    """It has no driver's code, so nobody knows; and an error that was raised from one says something else."""
    assert not unavailable_database(OperationalError("database is locked"))
    assert not unavailable_database(DatabaseError())
    lost = caused(OperationalError(), psycopg.OperationalError("the connection is lost"))
    assert unavailable_database(lost)
    assert not unavailable_database(caused(LookupError("no such customer"), lost))


def test_a_group_of_errors_is_where_each_of_them_is() -> None:
    """However deep: one fault of the code among them is a fault of the code."""
    lost = caused(OperationalError(), psycopg.OperationalError("the connection is lost"))
    assert unavailable_database(ExceptionGroup("several", [lost, ExceptionGroup("inner", [lost, lost])]))
    for other in (OperationalError(), LookupError(), ExceptionGroup("inner", [lost, LookupError()])):
        assert not unavailable_database(ExceptionGroup("several", [lost, other]))
    assert not unavailable_database(BaseExceptionGroup("several", [lost, KeyboardInterrupt()]))


def test_what_only_follows_from_one_is(sqlite: Path) -> None:
    """Django's refusal of the next query, and a transaction that couldn't commit for it."""

    def go_on() -> None:
        with transaction.atomic():
            with suppress(OperationalError):
                Group.objects.create(name="1")
            Group.objects.count()

    with locked(sqlite):
        assert unavailable_database(caused(NotCommitted(), error_of(lambda: say("SELECT * FROM done"))))
        follows = error_of(go_on)
    assert isinstance(follows, transaction.TransactionManagementError)
    assert unavailable_database(follows)
    assert not unavailable_database(NotCommitted())


def test_locks_deadlocks_and_lost_connections_of_postgresql_are(in_postgresql: Any) -> None:
    """By the codes that the server gives, and by the client's own errors, which have none."""
    other = databases.create_connection("default")
    with other.cursor() as holder, transaction.atomic():
        holder.execute("BEGIN; LOCK TABLE done")
        nowait = error_of(lambda: say("LOCK TABLE done NOWAIT"))
        transaction.set_rollback(True)
    other.close()
    assert unavailable_database(nowait)
    connection.ensure_connection()
    assert connection.connection is not None
    connection.connection.close()
    assert unavailable_database(error_of(lambda: say("SELECT 1")))
    forget_connections()
    with ended(in_postgresql):
        assert unavailable_database(error_of(lambda: say("SELECT 1")))


def test_a_deadlock_of_mariadb_is(mariadb: Any, use_database: Callable[..., None]) -> None:
    """It ends one of two transactions, each of which waits for the other: no fault of what that one did."""
    use_database(**mariadb.settings)
    say("CREATE TABLE crossed (id int PRIMARY KEY)")
    say("INSERT INTO crossed VALUES (1), (2)")
    both, errors = threading.Barrier(2), []

    def cross(one: str, other: str) -> None:
        try:
            with transaction.atomic():
                say(one)
                both.wait(10)
                say(other)
        except OperationalError as error:
            errors.append(error)
        finally:
            databases.close_all()

    updates = ["UPDATE crossed SET id = 11 WHERE id = 1", "UPDATE crossed SET id = 12 WHERE id = 2"]
    threads = [threading.Thread(target=cross, args=order) for order in (updates, updates[::-1])]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    say("DROP TABLE crossed")
    (error,) = errors
    assert error.args[0] == 1213  # a deadlock
    assert unavailable_database(error)


def test_a_lock_of_mariadb_that_is_not_waited_for_is(mariadb: Any, use_database: Callable[..., None]) -> None:
    """PyMySQL tells a state too, which is the same as for other errors."""
    use_database(**mariadb.settings)
    say("CREATE TABLE held (id int PRIMARY KEY)")
    say("INSERT INTO held VALUES (1)")
    other = databases.create_connection("default")
    with other.cursor() as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT * FROM held FOR UPDATE")
        with transaction.atomic():
            nowait = error_of(lambda: say("SELECT * FROM held FOR UPDATE NOWAIT"))
            transaction.set_rollback(True)
    other.close()
    say("DROP TABLE held")
    assert nowait.args[0] == 1205
    assert unavailable_database(nowait)


@pytest.mark.parametrize(
    ("state", "away"),
    [
        *((state, True) for state in ("08006", "40001", "40P01", "53100", "53300", "55P03", "57P01", "57P02", "57P03")),
        *((state, False) for state in ("23505", "40002", "42P01", "57014", "25006", "25P02", "22012", "XX000")),
    ],
)
@pytest.mark.parametrize("name", ["sqlstate", "pgcode"])
def test_codes_of_postgresql(state: str, away: bool, name: str) -> None:
    """Psycopg and psycopg2 have the same, under two names."""
    cause = type("DriverError", (Exception,), {name: state})()
    assert unavailable_database(caused(OperationalError(), cause)) is away


@pytest.mark.parametrize(
    ("error", "arguments", "away"),
    [
        *((OperationalError, (code, "…"), True) for code in (1040, 1205, 1213, 2002, 2003, 2006, 2013, 1053, 3572)),
        *((OperationalError, (code, "…"), False) for code in (1054, 1146, 1045, 3024, 1290)),
        (InterfaceError, (0, ""), True),
        (InterfaceError, (2, "…"), False),
        (OperationalError, (), False),
        *(
            (DatabaseError, (SimpleNamespace(full_code=code),), away)
            for code, away in (("ORA-00060", True), ("ORA-03113", True), ("DPY-4011", True), ("ORA-00942", False))
        ),
    ],
)
def test_codes_of_mysql_and_oracle(error: type[Exception], arguments: tuple[Any, ...], away: bool) -> None:
    """Their drivers' errors carry them as their first argument."""
    assert unavailable_database(caused(error(*arguments), Exception(*arguments))) is away


def test_a_closed_cursor_is_a_fault_of_the_code_and_a_closed_connection_is_none() -> None:
    """Both are an InterfaceError of psycopg, without a code."""
    for text, away in (("connection already closed", True), ("the cursor is closed", False)):
        assert unavailable_database(caused(InterfaceError(text), psycopg.InterfaceError(text))) is away


# ---------------------------------------------------------------- what becomes of the messages


def note(message: Message) -> None:
    """Write the number of a message down in the database."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO done VALUES (%s)", [message.payload["n"]])


def noted() -> int:
    """How many are written down."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM done")
        return int(cursor.fetchone()[0])


async def note_in_a_task(message: Message) -> None:
    """The same in a task of a group, which raises what its tasks raise as a group."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sync_to_async(note)(message))


COROUTINES = {"coroutine": sync_to_async(note), "coroutine with a group of tasks": note_in_a_task}


def declare(kind: str) -> list[int]:
    """A handler of this kind that writes messages down; how many each of its calls was for."""
    calls: list[int] = []
    if kind == "function":

        @handler("orders", group="billing", atomic=True)
        def one(message: Message) -> None:
            calls.append(1)
            note(message)

    elif kind == "batch":

        @handler("orders", group="billing", atomic=True, batch=True)
        def many(messages: list[Message]) -> None:
            calls.append(len(messages))
            for each in messages:
                note(each)

    elif kind in COROUTINES:

        @handler("orders", group="billing")
        async def wait(message: Message) -> None:
            calls.append(1)
            await COROUTINES[kind](message)

    else:

        @handler("orders", group="billing", batch=True)
        async def wait_for_many(messages: list[Message]) -> None:
            calls.append(len(messages))
            await sync_to_async(transaction.atomic()(lambda: [note(each) for each in messages]))()

    return calls


KINDS = ["function", "batch", *COROUTINES, "batch of coroutines"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_locked_database_uses_up_no_retry(raw: Raw, streams: Any, sqlite: Path, kind: str) -> None:
    """Without any retry allowed, all are handled once it is free. A batch is judged as a whole."""
    streams(NO_RETRIES)
    calls = declare(kind)
    states.publish(raw, *({"n": str(n)} for n in range(10)))
    with locked(sqlite):
        with working():
            wait_until(lambda: totals(raw).get("retried", 0) >= 10)
        if "batch" in kind:
            assert calls[0] > 1
            assert sum(calls) == totals(raw)["retried"], "some were run twice, together and alone"
    with working():
        wait_until(lambda: totals(raw).get("acknowledged") == 10)
    assert letters(raw) == []
    assert noted() == 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_a_database_that_is_away_for_a_while_makes_no_dead_letters(
    raw: Raw, streams: Any, in_postgresql: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand messages meet it, and wait: each is handled, none uses up a retry, and the log stays readable."""
    streams(NO_RETRIES)
    declare(kind)
    states.publish(raw, *({"n": str(n)} for n in range(1_000)))
    began = time.monotonic()
    with ExitStack() as stack:
        with ended(in_postgresql):
            stack.enter_context(working())
            wait_until(lambda: totals(raw).get("retried", 0) > 1_500)
        wait_until(lambda: totals(raw).get("acknowledged") == 1_000)
    took = time.monotonic() - began
    assert letters(raw) == []
    assert noted() == 1_000
    told = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert {each.name for each in told} == {"django_redis_streams.worker"}
    # Two causes: it is away, and it is starting. As a rule each is told once a second.
    assert 2 <= len(told) <= 2 * took + 5
    assert sum(each.runs for each in told) == totals(raw)["retried"]


def test_other_errors_outlast_the_default_retries_and_are_counted(raw: Raw) -> None:
    """With the defaults a message that fails for another reason is retried too, and each run counts."""

    @handler("orders", group="billing")
    def fail(_: Message) -> None:
        raise ConnectionError("the gateway is down")

    states.publish(raw, *({"n": str(n)} for n in range(20)))
    drained = drain("orders:billing")
    assert (drained.retried, drained.dead_lettered) == (20, 0)
    drained = drain("orders:billing", hasten=True)
    assert (drained.retried, drained.dead_lettered) == (20 * 9, 20)


def test_the_time_of_the_first_failure_is_kept_until_another_outcome(raw: Raw) -> None:
    """By it a message knows how long its database has been away; another failure ends that."""
    away = RetryLater(0, Failure(), counted=False, unavailable=True)
    states.publish(raw, {"n": "1"})
    states.settle(states.deliver(), away)

    def again() -> list[Delivery]:
        promote(connections.get("default"), conf.stream("orders"), ["billing"], "tested")
        return states.deliver()

    (first,) = again()
    assert first.metadata is not None
    since = first.metadata.unavailable_since
    assert abs(time.time() * 1_000 - since) < 10_000
    assert first.attempt == 1
    states.settle([first], away)
    (second,) = again()
    assert second.metadata is not None
    assert second.metadata.unavailable_since == since
    states.settle([second], RetryLater(0, Failure()))
    (third,) = again()
    assert third.metadata is not None
    assert third.metadata.unavailable_since == 0
    assert third.attempt == 2


def test_a_lock_in_a_test_is_raised_by_drain(raw: Raw, sqlite: Path) -> None:
    """A worker would try for a day; the message waits for its retry."""
    declare("function")
    states.publish(raw, {"n": "1"}, {"n": "2"})
    with locked(sqlite), pytest.raises(OperationalError, match="locked"):
        drain("orders:billing", hasten=True)
    assert totals(raw) == {"retried": 1}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_writers_of_sqlite_that_do_not_wait_for_each_other_lose_nothing(
    raw: Raw, fleet: Any, use_database: Any, tmp_path: Path
) -> None:
    """Two groups, two processes, Django's defaults: not one of 800 messages uses up the retry that it hasn't got."""
    path = tmp_path / "default.sqlite3"
    use_database(NAME=path)
    with connection.schema_editor() as editor:
        editor.create_model(Group)
    fleet.streams = {"orders": {"GROUPS": {each: {"MAX_RETRIES": 0} for each in ("billing", "loyalty")}}}
    states.publish(raw, *({"n": str(n)} for n in range(800)))
    environment = {"DJANGO_SETTINGS_MODULE": "tests.support.default_sqlite_settings", "TEST_SQLITE": str(path)}
    fleet.start("--processes", "2", **environment)
    for group in ("billing", "loyalty"):
        wait_until(lambda group=group: totals(raw, group).get("acknowledged") == 800, deadline=240)
    assert letters(raw) == []
    assert Group.objects.filter(name__startswith="work ").count() == 1_600
