"""Fixtures for all: the server of the run, further ones, and settings that lead there."""

import gc
import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from django.db import connection, connections
from django.db.models import Model

from django_redis_streams import Message, handlers, signals
from django_redis_streams.worker.log import recurring, unreachable

from .support import mariadb as mariadb_support
from .support import workers
from .support.clusters import BY_CLUSTER, ClusterSet
from .support.collecting import import_share
from .support.postgresql import NEEDS, Postgresql, forget_connections, programs
from .support.proxies import Proxy
from .support.sentinels import BY_SENTINELS, SentinelSet
from .support.servers import CHOSEN, STARTED, Server, ServerMissing
from .support.waiting import wait_until
from .support.workers import Fleet, Worker

__all__ = ["wait_until"]

# A failure found at random is printed with what repeats it. How long one example takes depends on what else the machine
# does; pytest's own timeout ends what never ends.
hypothesis.settings.register_profile(
    "tests", print_blob=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")

# A shell without job control lets what it starts in the background ignore SIGINT, and the tests' workers inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# So many lines at the end of a server's log tell what it went through during a test.
_LINES = 100


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect without looking for garbage, as there is none: only more and more to look through."""
    gc.disable()
    try:
        import_share(session.config)
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failure what each server said last: the test may not fail a second time."""
    report = yield
    if report.failed:
        for each in STARTED:
            last = "\n".join(each.log.splitlines()[-_LINES:])
            report.sections.append((f"log of {each.program} in {each.directory}", last))
    return report


@pytest.fixture(scope="session")
def django_db_modify_db_settings_xdist_suffix() -> None:
    """Leave the database's name alone: each worker has a directory of its own, by which processes find it."""


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of this run, for all tests that don't kill it."""
    try:
        # Where it is restarted, or stands still for a while, it stays the master.
        if BY_CLUSTER:
            running: Server = ClusterSet().as_server()
        else:
            running = SentinelSet(down_after=600_000).as_server() if BY_SENTINELS else Server()
    except ServerMissing as error:
        pytest.exit(f"No test can run: {error}", returncode=3)
    os.environ["TEST_REDIS_URL"] = running.url
    yield running
    running.stop()


@pytest.fixture
def raw(server: Server) -> redis.Redis:
    """An ordinary client of the run's server, for assertions."""
    return server.raw()


@pytest.fixture
def make_server() -> Iterator[Callable[..., Server]]:
    """Starts further servers, `make_server(kind, **options)`, for this test alone."""
    running: list[Server] = []

    def make(kind: str = CHOSEN, *, own_clock: bool = False, **options: str | tuple[str, ...]) -> Server:
        try:
            running.append(Server(kind, own_clock=own_clock, **options))
        except ServerMissing as error:
            pytest.skip(str(error))
        return running[-1]

    yield make
    for each in running:
        each.stop()


@pytest.fixture
def make_cluster() -> Iterator[Callable[..., ClusterSet]]:
    """Starts clusters, `make_cluster(masters=3, replicas=0, **options)`, for this test alone."""
    with ExitStack() as stack:

        def make(**options: Any) -> ClusterSet:
            try:
                made = ClusterSet(**options)
            except ServerMissing as error:
                pytest.skip(str(error))
            stack.callback(made.stop)
            return made

        yield make


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy before the server of the run, to lose replies with."""
    running = Proxy(server)
    yield running
    running.stop()


@pytest.fixture
def streams(server: Server, settings: Any) -> Callable[..., None]:
    """The default connection leads to the server of the run, and that is empty.

    Called, it declares other streams, or another URL or OPTIONS: `streams({"tasks": {…}}, URL=proxy.url)`.
    """
    server.raw().flushall()
    declared = settings.REDIS_STREAMS["STREAMS"]

    def declare(streams: dict[str, Any] = declared, **connection: Any) -> None:
        settings.REDIS_STREAMS = {
            "CONNECTIONS": {"default": {"URL": server.url, **connection}},
            "STREAMS": streams,
        }

    declare()
    return declare


@pytest.fixture
def fleet(server: Server, tmp_path: Path) -> Iterator[Fleet]:
    """Workers as processes of their own, on the run's server, which is empty."""
    server.raw().flushall()
    workers = Fleet(tmp_path, server.url)
    yield workers
    workers.end()


@pytest.fixture
def interpreters(fleet: Fleet) -> None:
    """Each worker is an interpreter that begins anew, not one that has imported what workers import."""
    fleet.warm = False


@pytest.fixture(autouse=True)
def _no_outage() -> None:
    """Forget what servers did to a worker of another test: each worker's process begins without that."""
    unreachable._outages.clear()
    recurring.refusals.forget()


@pytest.fixture(autouse=True)
def _no_worker_left() -> Iterator[None]:
    """End the workers that a failed test has left in this process: the next tests would meet them."""
    yield
    for each in Worker.left.copy():
        with suppress(BaseException):
            each.end()
    Worker.left.clear()


@pytest.fixture
def isolated_handlers() -> Iterator[None]:
    """No handlers but those that the test declares."""
    with handlers.isolated():
        yield


@pytest.fixture
def seen(isolated_handlers: None) -> list[str]:
    """Return the numbers of the messages of "orders" that billing has handled."""
    found: list[str] = []
    handlers.handler("orders", group="billing")(lambda message: found.append(message.payload["n"]))
    return found


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Any]:
    """A second database, "other", empty."""
    connections.settings["other"] = {**connections.settings["default"], "NAME": tmp_path / "other.sqlite3"}
    connections["other"].connect()  # by hand: a TestCase only lets those be opened that it knows
    yield connections["other"]
    connections["other"].close()
    del connections["other"]
    del connections.settings["other"]


@pytest.fixture
def postgresql(postgresql_server: Postgresql) -> Postgresql:
    """A PostgreSQL server without any table, which a test that ends it starts again."""
    postgresql_server.ask("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return postgresql_server


@pytest.fixture
def table_gone() -> Iterator[None]:
    """The table of the outbox isn't there, until the test has ended."""
    table = "django_redis_streams_outbox_outboxmessage"
    with connections["default"].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
        yield
        cursor.execute(f"ALTER TABLE elsewhere RENAME TO {table}")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Postgresql]:
    """A PostgreSQL server that all tests share."""
    found = programs()
    if found is None:
        pytest.skip(NEEDS)
    running = Postgresql(found)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[mariadb_support.Mariadb]:
    """A MariaDB server."""
    found = mariadb_support.programs()
    if found is None:
        pytest.skip(mariadb_support.NEEDS)
    running = mariadb_support.Mariadb(found)
    yield running
    running.stop()


@pytest.fixture
def use_database(django_db_blocker: Any) -> Iterator[Callable[..., None]]:
    """Makes another the default database, for this thread and that of coroutines; what there is of it stays."""
    before = connections.settings["default"]

    def use(**settings: Any) -> None:
        connections.settings["default"] = {**before, "OPTIONS": {}, "CONN_MAX_AGE": None, **settings}
        forget_connections()

    with django_db_blocker.unblock():
        yield use
        connections.settings["default"] = before
        forget_connections()


@pytest.fixture
def database_with(
    request: pytest.FixtureRequest, use_database: Callable[..., None], tmp_path: Path
) -> Callable[..., AbstractContextManager[None]]:
    """`database_with(kind, *models)` makes a database the default one, with these tables.

    The kind is "sqlite", or the name of a server's fixture: "postgresql", "mariadb".
    """

    @contextmanager
    def prepared(kind: str, *models: type[Model]) -> Iterator[None]:
        if kind == "sqlite":
            use_database(NAME=tmp_path / "default.sqlite3")
        else:
            use_database(**request.getfixturevalue(kind).settings)
        with connection.schema_editor() as editor:
            for model in models:
                editor.create_model(model)
        yield
        with connection.schema_editor() as editor:
            for model in models:
                editor.delete_model(model)

    return prepared


@pytest.fixture
def failed() -> Iterator[list[dict[str, Any]]]:
    """What `publish_failed` was sent with."""
    found = []

    def receive(*, sender: type[Message], signal: Any, **arguments: Any) -> None:
        found.append(arguments)

    signals.publish_failed.connect(receive, sender=Message)
    yield found
    signals.publish_failed.disconnect(receive, sender=Message)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in the test's own process are hasty, unless they are told otherwise."""
    monkeypatch.setattr(workers, "default_timing", workers.HASTY)
    monkeypatch.setattr(recurring.refusals, "each", recurring.refusals.each / 20)
