"""Django's database connections in a worker: what one message leaves, the next doesn't find."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.worker.execution.databases import Databases
from django_redis_streams.worker.timing import Timing

from .support.books import letters, totals
from .support.postgresql import Postgresql, forget_connections
from .support.waiting import wait_until
from .support.workers import working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

ONE_TRY = {"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 0}}}}


@pytest.fixture
def one_try(streams: Callable[..., None]) -> None:
    """Each message is run once."""
    streams(ONE_TRY)


@pytest.fixture
def database(postgresql: Postgresql, use_database: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """Makes the default database that server, with further settings, and the table `done`; gives what restarts it."""

    def use(**settings: Any) -> Callable[[], None]:
        use_database(**{"CONN_MAX_AGE": 0, **postgresql.settings, **settings})
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS done")
            cursor.execute("CREATE TABLE done (n text)")
        return postgresql.restart

    use()
    return use


@pytest.fixture(autouse=True)
def _may_use_databases(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


def write(message: Message) -> None:
    """Write the message's number into the table."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO done VALUES (%s)", [message.payload["n"]])


def written() -> list[str]:
    """The numbers in the table, as another connection sees them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT n FROM done ORDER BY n")
        return [n for (n,) in cursor.fetchall()]


def acknowledged(raw: Any) -> int:
    """How many were, so far."""
    return totals(raw).get("acknowledged", 0)


# However long a batch takes, its connections are looked at once, unless they failed.
TRUSTING = Timing(trust_connection=60)

POOLED = {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 4, "max_size": 4, "timeout": 10}}}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kept", [{"CONN_MAX_AGE": None}, POOLED], ids=["kept", "pool"])
def test_a_restart_of_postgresql_between_two_messages_goes_unnoticed(raw, one_try, database, is_async, kept):
    """No handler meets a connection that went stale, or a pool's: with one try for each, nothing is dead-lettered."""
    restart = database(**kept)
    if is_async:

        @handler("orders", group="billing")
        async def run(message: Message) -> None:
            await sync_to_async(write)(message)

    else:
        handler("orders", group="billing")(write)
    with working(timing=TRUSTING):
        for n in range(3):
            raw.xadd("orders", {"n": n})
            wait_until(lambda n=n: acknowledged(raw) + len(letters(raw)) > n)
            restart()
    forget_connections()
    assert totals(raw) == {"acknowledged": 3}
    assert written() == ["0", "1", "2"]


def test_a_connection_that_broke_is_met_once(raw, streams, postgresql, database):
    """Where it breaks in the middle of a batch, one run fails and uses up no retry; the next has a new connection."""
    streams(ONE_TRY)
    database(CONN_MAX_AGE=None)
    broken = []

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        if message.payload["n"] == "2" and not broken:
            broken.append(message.id)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                (own,) = cursor.fetchone()
                with connections.create_connection(DEFAULT_DB_ALIAS).cursor() as other:
                    other.execute("SELECT pg_terminate_backend(%s)", [own])
                    other.db.close()
        write(message)

    for n in range(5):
        raw.xadd("orders", {"n": n})
    with working(timing=TRUSTING):
        wait_until(lambda: acknowledged(raw) == 5)
    assert totals(raw) == {"acknowledged": 5, "retried": 1}
    assert written() == ["0", "1", "2", "3", "4"]


def begin(message: Message) -> None:
    """Leave a BEGIN behind that Django knows nothing of."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    write(message)


def enter_atomic(message: Message) -> None:
    """Leave an atomic block without its end."""
    transaction.atomic().__enter__()
    write(message)


def turn_autocommit_off(message: Message) -> None:
    """Leave autocommit off."""
    transaction.set_autocommit(False)
    write(message)


@pytest.mark.usefixtures("one_try")
@pytest.mark.parametrize("leave", [begin, enter_atomic, turn_autocommit_off])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kept", [{"CONN_MAX_AGE": None}, POOLED], ids=["kept", "pool"])
def test_a_transaction_that_is_left_open_is_rolled_back(raw, database, leave, is_async, kept):
    """The message that left it has failed. The next works in no transaction of another, and what it writes is there."""
    database(**kept)

    def obey(message: Message) -> None:
        (leave if message.payload["n"] == "0" else write)(message)

    if is_async:

        @handler("orders", group="billing")
        async def run(message: Message) -> None:
            await sync_to_async(obey)(message)

    else:
        handler("orders", group="billing")(obey)
    for n in range(3):
        raw.xadd("orders", {"n": n})
    with working():
        wait_until(lambda: acknowledged(raw) == 2)
        assert written() == ["1", "2"]
    assert [letter.fields for letter in letters(raw)] == [["n", "0"]]


def test_a_raw_begin_is_rolled_back_on_sqlite_too(tmp_path):
    """The driver of SQLite is asked in its own way."""
    before = connections.settings[DEFAULT_DB_ALIAS]
    connections.settings["other"] = {**before, "NAME": tmp_path / "other.sqlite3"}
    try:
        looked_after, other = Databases(), connections["other"]
        looked_after.before_message()
        with other.cursor() as cursor:
            cursor.execute("CREATE TABLE done (n text)")
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO done VALUES ('1')")
        looked_after.after_message()
        with connections["other"].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM done")
            assert cursor.fetchone() == (0,)
        connections["other"].close()
    finally:
        del connections["other"], connections.settings["other"]


def backends() -> int:
    """How many connections there are but the one that asks."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("age", "kept"), [(0, 0), (None, 1), (600, 1)])
def test_conn_max_age_decides_whether_a_connection_outlives_its_batch(raw, database, age, kept, is_async):
    """Closed at the end of the batch where it is 0, kept for the next where it isn't."""
    database(CONN_MAX_AGE=age)
    if is_async:

        @handler("orders", group="billing")
        async def run(message: Message) -> None:
            await sync_to_async(write)(message)

    else:
        handler("orders", group="billing")(write)
    raw.xadd("orders", {"n": 1})
    with working():
        wait_until(lambda: acknowledged(raw) == 1)
        wait_until(lambda: backends() == kept)
    wait_until(lambda: backends() == 0, "all connections closed with the worker")


@pytest.mark.usefixtures("one_try")
@pytest.mark.parametrize("leave", [begin, enter_atomic, turn_autocommit_off])
def test_a_connection_whose_transaction_was_left_open_goes_back_to_its_pool(raw, database, leave):
    """However often that happens, there is one for the next message, which fails only for what it leaves itself."""
    database(CONN_MAX_AGE=0, OPTIONS={"pool": {"min_size": 1, "max_size": 1, "timeout": 2}})
    connection.close()  # which is out of the pool, and the only one
    handler("orders", group="billing")(leave)
    for n in range(5):
        raw.xadd("orders", {"n": n})
    with working():
        wait_until(lambda: acknowledged(raw) + len(letters(raw)) == 5)
    assert {each.metadata["error"].partition(":")[0] for each in letters(raw)} == {"NotCommitted"}
    connection.close()
    assert written() == []


@pytest.mark.usefixtures("hasty")
def test_a_connection_that_is_lost_while_it_is_opened_is_replaced(
    raw: Any, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run opens another, though Django told nobody of the one that it keeps."""
    forget_connections()
    armed = threading.Event()
    initialize, failures = type(connection._connections[DEFAULT_DB_ALIAS]).init_connection_state, []

    def lost(self: Any) -> None:
        if armed.is_set() and not failures and threading.current_thread().name == "tested":
            failures.append(self)
            self.connection.close()
        initialize(self)

    monkeypatch.setattr(type(connection._connections[DEFAULT_DB_ALIAS]), "init_connection_state", lost)
    handler("orders", group="billing", atomic=True)(write)
    raw.xadd("orders", {"n": "1"})
    with working():
        wait_until(lambda: acknowledged(raw) == 1)  # with CONN_MAX_AGE=0 the thread has no connection after that
        armed.set()
        raw.xadd("orders", {"n": "2"})
        wait_until(lambda: acknowledged(raw) == 2)
    assert len(failures) == 1
    assert written() == ["1", "2"]
