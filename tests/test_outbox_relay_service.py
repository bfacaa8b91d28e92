"""The relay within workers: at once after their start, beside others, through what happens to databases and servers."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from django.apps import apps
from django.db import OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_redis_streams import connections as servers
from django_redis_streams.connections.refusals import PartUnreachable
from django_redis_streams.outbox import batch as batch_module
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.outbox.relay import Relay
from django_redis_streams.worker.options import Options
from django_redis_streams.worker.services import relay as relay_service
from django_redis_streams.worker.services.kinds import redis_connections
from django_redis_streams.worker.services.relay import OutboxRelay
from django_redis_streams.worker.services.relaying import relayed_connections
from django_redis_streams.worker.system.memory import resident

from .support.dying import relay_until
from .support.postgresql import Postgresql
from .support.waiting import wait_until
from .support.workers import HASTY, Fleet
from .test_outbox_relay import STREAMS, payloads, relayed, use_server, waiting

Raw = Any
QUICK = replace(HASTY, relay=0.02, look_for_relay=0.05)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _streams(streams: Callable[..., None]) -> Iterator[None]:
    streams(STREAMS)
    yield
    OutboxMessage.objects.all().delete()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> None:
    """Each database, with an empty table."""
    if request.param != "sqlite":
        use_server(request, request.param)


@contextmanager
def relaying(**options: Any) -> Iterator[OutboxRelay]:
    """Run the service within it."""
    stop = threading.Event()
    service = OutboxRelay("default", stop, QUICK, **options)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            service.run()
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield service
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    assert errors == []


@pytest.mark.usefixtures("database")
def test_a_service_relays_what_comes(raw: Raw) -> None:
    """What was there before it, and what comes while it is idle. At its end it lets go of the lease and connections."""
    waiting(1)
    with relaying():
        wait_until(lambda: raw.xlen("orders") == 1)
        waiting(2)
        wait_until(lambda: raw.xlen("orders") == 2)
        wait_until(lambda: not OutboxMessage.objects.exists())
    assert raw.keys("*:relay:*") == []


def test_another_process_takes_over_at_once(raw: Raw) -> None:
    """When the one with the lease has ended."""
    with relaying():
        with relaying():
            waiting(1)
            wait_until(lambda: raw.xlen("orders") == 1)
        waiting(2)
        wait_until(lambda: raw.xlen("orders") == 2)


@pytest.mark.parametrize("database", ["sqlite", "postgresql", "mariadb"], indirect=True)
@pytest.mark.usefixtures("database")
def test_a_relay_that_is_killed_before_or_after_each_statement_loses_nothing(raw: Raw) -> None:
    """A message that was sent, and not yet deleted, comes twice; none is lost, and their order stays."""
    at = 1
    while True:
        waiting(1, 2, 3)
        died = relay_until(at)
        raw.delete(*raw.keys("*:relay:*") or ["none"])  # it would expire
        # A server may hold the dead one's locks for a moment.
        wait_until(lambda: relayed() and not OutboxMessage.objects.exists(), f"an empty outbox after step {at}")
        assert payloads(raw) in ([1, 2, 3], [1, 2, 3, 1, 2, 3]), at
        if not died:
            break
        raw.delete("orders")
        at += 1
    assert at > 12


def test_a_database_that_is_restarted_is_told_of_once(
    raw: Raw, request: pytest.FixtureRequest, postgresql: Postgresql, caplog: pytest.LogCaptureFixture
) -> None:
    """The relay goes on, and no thread has ended."""
    use_server(request, "postgresql")
    with relaying():
        waiting(*range(500))
        wait_until(lambda: raw.xlen("orders") > 0)
        connections.close_all()
        postgresql.end()
        wait_until(lambda: "can't be relayed" in caplog.text)
        postgresql.start()
        wait_until(lambda: "is relayed again" in caplog.text)
        waiting("after")
        wait_until(lambda: not OutboxMessage.objects.exists())
    assert caplog.text.count("can't be relayed") == 1
    assert {json.dumps(each) for each in payloads(raw)} == {*map(str, range(500)), '"after"'}


def test_a_node_that_is_away_holds_up_no_other_database(
    raw: Raw, other: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a cluster. It is told of after all had their turn, and what was sent meanwhile is counted."""
    append, lost = batch_module.append, []

    def answer_in_part(link: Any, stream: Any, lane: str, entries: Sequence[Any]) -> list[Any]:
        if lost:
            return append(link, stream, lane, entries)
        lost.append(PartUnreachable("The node is away."))
        return [*append(link, stream, lane, entries[:-1]), *lost]

    monkeypatch.setattr(batch_module, "append", answer_in_part)
    rows = waiting(1, 2, 3)
    with other.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    OutboxMessage.objects.using("other").bulk_create(rows[2:])
    rows[2].delete(using="default")
    service = OutboxRelay("default", threading.Event(), QUICK)
    with pytest.raises(PartUnreachable):
        service.step(servers.get())
    assert payloads(raw) == [1, 3]
    assert service.sent == 2
    service._relays[0].relay._after = 0
    other.connect()  # by hand, as the fixture does: the step has closed it
    service.step(servers.get())
    assert payloads(raw) == [1, 3, 2]
    assert service.sent == 3
    service.end()


@pytest.mark.usefixtures("database")
def test_what_the_database_does_not_take_as_sent_is_not_sent_by_each_process(
    raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk takes no DELETE. Who has sent it keeps the lease for a minute, then another may try."""
    taken: list[bool] = []

    def refuse(execute: Any, sql: str, *arguments: Any) -> Any:
        if "DELETE" in sql and not taken:
            raise OperationalError("disk full")
        return execute(sql, *arguments)

    waiting(1, 2)
    first, second = (OutboxRelay("default", threading.Event(), QUICK) for _ in range(2))

    def step() -> None:
        for service in (first, second):
            service._relays[0].due = service._relays[0].relay._held_until = 0.0
            service.step(servers.get())

    with connection.execute_wrapper(refuse):
        for _ in range(3):
            step()
        assert payloads(raw) == [1, 2]
        monkeypatch.setattr(relay_service, "_KEEPS", -1.0)  # the minute is over
        step()
        assert payloads(raw) == [1, 2, 1, 2]
        taken.append(True)
        step()
    step()
    assert payloads(raw) == [1, 2, 1, 2]
    assert not OutboxMessage.objects.exists()
    for service in (first, second):
        service.end()


def test_a_database_without_the_table_is_looked_at_again(raw: Raw) -> None:
    """The table may come with the next migration."""
    with connection.schema_editor() as editor:
        editor.delete_model(OutboxMessage)
    try:
        with relaying() as service:
            wait_until(lambda: service._relays[0].due > 0)
            assert raw.keys("*:relay:*") == []
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(OutboxMessage)


def test_a_missing_table_is_told_of_once(
    raw: Raw, streams: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """As soon as the relay looks, with the command that makes it; and again where it comes and goes."""
    quick = replace(QUICK, look_for_table=0.02)
    stop = threading.Event()
    service = OutboxRelay("default", stop, quick, tells=True)

    def told() -> int:
        return caplog.text.count("Run `manage.py migrate django_redis_streams_outbox --database=default`.")

    for times in (1, 2):
        with connection.schema_editor() as editor:
            editor.delete_model(OutboxMessage)
        try:
            for _ in range(3):
                # What the service thinks of a table that it has seen is an error of the database, which is told too.
                service._relays[0].due = 0.0
                service.step(servers.get())
            assert told() == times
        finally:
            with connection.schema_editor() as editor:
                editor.create_model(OutboxMessage)
        service._relays[0].due = 0.0
        waiting(times)
        service.step(servers.get())
        assert raw.xlen("orders") == times
    assert "what is published to orders, bills in its transactions is refused" in caplog.text
    service.end()


def test_a_missing_table_that_no_stream_needs_is_not_told_of(
    streams: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """The app is installed; no stream has an OUTBOX."""
    streams({"orders": {}})
    with connection.schema_editor() as editor:
        editor.delete_model(OutboxMessage)
    try:
        service = OutboxRelay("default", threading.Event(), QUICK, tells=True)
        service.step(servers.get())
        assert service._relays[0].due > 0
        service.end()
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(OutboxMessage)
    assert "has no table" not in caplog.text


def test_each_worker_process_relays_while_the_app_is_installed(
    fleet: Fleet, raw: Raw, monkeypatch: pytest.MonkeyPatch, streams: Callable[..., None]
) -> None:
    """`runconsumers` counts the connection. Without the app there is no thread, and none to a database."""
    waiting(1)
    fleet.start("--processes", "2")
    wait_until(lambda: raw.xlen("orders") == 1)
    assert relayed_connections() == ["default"]
    with_app = redis_connections(Options(groups=()))
    monkeypatch.setattr(apps, "is_installed", lambda _: False)
    assert relayed_connections() == []
    assert with_app == {"default": 1}
    assert redis_connections(Options(groups=())) == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_million_messages_drain_in_bounded_memory(raw: Raw, request: pytest.FixtureRequest) -> None:
    """The process that relays grows by no more than some batches."""
    use_server(request, "postgresql")
    waiting(1)
    with connection.cursor() as cursor:
        # Django's ORM would hold them all.
        cursor.execute(
            "INSERT INTO django_redis_streams_outbox_outboxmessage "
            "(message_id, stream, lane, entry, attempts, error, entry_id) "
            "SELECT 'id-' || n, stream, lane, replace(entry, message_id, 'id-' || n), 0, '', '' "
            "FROM django_redis_streams_outbox_outboxmessage, generate_series(2, 1000000) n"
        )
    raw.config_set("appendonly", "no")
    relay, before = Relay("default", "default"), resident()
    most = sent = 0
    while sent < 1_000_000:
        sent += relay.step(servers.get()).sent
        most = max(most, resident() - before)
    raw.config_set("appendonly", "yes")
    assert raw.xlen("orders") == 1_000_000
    assert most < 64 * 1024 * 1024
