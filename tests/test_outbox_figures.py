"""What is told of unsent messages: the figures, the doctor's findings, the metrics."""

import io
import json
import logging
import time
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connections
from django.test import Client

from django_redis_streams.diagnosis import Code, diagnose, stranding
from django_redis_streams.diagnosis.unsent import kept_meanwhile, outbox_findings
from django_redis_streams.outbox import bounded
from django_redis_streams.outbox import figures as figures_module
from django_redis_streams.outbox.bounded import Asked
from django_redis_streams.outbox.databases import OutboxUnavailable, TableMissing
from django_redis_streams.outbox.figures import DatabaseFigures, StreamFigures, figures
from django_redis_streams.outbox.listing import list_unsent
from django_redis_streams.outbox.models import OutboxMessage

from .support import unsent
from .support.samples import samples

Streams = Callable[..., None]
OUTBOX = {"orders": {"GROUPS": {}, "OUTBOX": "always"}}

# Other threads see what is committed alone.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("streams")]


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A database that doesn't answer, until the test has ended."""
    ended = []
    asked: list[str] = []

    def hang(alias: str) -> DatabaseFigures:
        asked.append(alias)
        while not ended:
            time.sleep(0.01)
        return DatabaseFigures(database=alias)

    monkeypatch.setattr(figures_module, "figures_of", hang)
    yield asked
    ended.append(True)
    bounded._asking.pop("default").join()


def of(stream: str = "orders", found: list[DatabaseFigures] | None = None) -> StreamFigures:
    """The figures of a stream in the only database."""
    (database,) = figures() if found is None else found
    assert database.problem is None
    return database.streams[stream]


def examined() -> dict[str, Mapping[str, str]]:
    """The doctor's findings about the outbox, by their code."""
    out = io.StringIO()
    with suppress(SystemExit):
        call_command("streams", "doctor", "--json", stdout=out)
    return {each["code"]: each for each in json.loads(out.getvalue())["findings"] if each["code"].startswith("outbox")}


def scraped() -> dict[tuple[str, ...], float]:
    """The samples about the outbox: by name, database and stream."""
    response = Client().get("/metrics")
    found = samples(response.content.decode(), response["Content-Type"])
    assert ("redis_streams_up", "orders") in found
    return {labels: value for labels, value in found.items() if "outbox" in labels[0]}


# ---------------------------------------------------------------- the figures


def test_the_figures_tell_each_stream_apart() -> None:
    """Unsent, overdue, refused and kept ones, by the database's clock."""
    unsent.row(ago=95, next_try=-90)
    unsent.row(ago=10, next_try=-1)
    unsent.sending()
    unsent.refused("first")
    unsent.refused("last")
    unsent.held()
    unsent.sent(ago=1000)
    unsent.sent(stream="tomorrows")
    found = of()
    assert (found.unsent, found.overdue, found.refused, found.kept) == (6, 2, 2, 1)
    assert found.error == "last"
    assert 95 <= found.oldest < 100
    assert 90 <= found.late < 95
    other = of("tomorrows")
    assert (other.unsent, other.oldest, other.late, other.error, other.kept) == (0, 0, 0, "", 1)


@pytest.mark.parametrize("refused", [0, 3])
def test_the_figures_take_two_queries_at_most(django_assert_max_num_queries: Any, refused: int) -> None:
    """Whatever there is; the second is for the texts of errors."""
    for _ in range(10):
        unsent.row()
    for _ in range(refused):
        unsent.refused()
    with django_assert_max_num_queries(2 if refused else 1):
        figures()


def test_each_database_is_told_of(other: Any) -> None:
    """One without the table has a problem, and hides no other."""
    unsent.row()
    here, there = figures()
    assert (here.database, here.unsent, here.problem) == ("default", 1, None)
    assert isinstance(there.problem, TableMissing)
    assert "migrate django_redis_streams_outbox --database=other" in str(there.problem)


def test_a_router_says_which_databases_have_the_table(other: Any, settings: Any) -> None:
    """What it lets no table be made in isn't asked."""
    settings.DATABASE_ROUTERS = ["tests.test_outbox_figures.OnlyDefault"]
    assert [each.database for each in figures()] == ["default"]


class OnlyDefault:
    """Lets the other database have no tables."""

    def allow_migrate(self, db: str, *_: Any, **__: Any) -> bool:
        """As Django asks it."""
        return db == "default"


def test_a_database_that_hangs_holds_up_nobody(hanging: list[str]) -> None:
    """It is told of as such, and isn't asked again while it hangs."""
    began = time.monotonic()
    for _ in range(3):
        (found,) = Asked().figures(0.05)
        assert "no answer within 0.05 s" in str(found.problem)
    assert time.monotonic() - began < 20
    assert hanging == ["default"]


def test_a_driver_that_raises_anything_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only what Django knows."""

    def raises(alias: str) -> DatabaseFigures:
        raise RuntimeError("out of order")

    monkeypatch.setattr(figures_module, "figures_of", raises)
    (found,) = Asked().figures(5)
    assert "RuntimeError: out of order" in str(found.problem)


# ---------------------------------------------------------------- the doctor


def test_the_doctor_finds_a_backlog_that_nobody_works_off(streams: Streams) -> None:
    """More than a minute beyond when it should have been tried; not what was tried and waits for its next try."""
    streams(OUTBOX)
    unsent.row(ago=50, next_try=-50)
    unsent.refused(ago=3600, next_try=30)
    assert "outbox-stalled" not in examined()
    unsent.row(ago=95, next_try=-90)
    found = examined()["outbox-stalled"]
    assert (found["subject"], found["level"]) == ("orders", "fault")
    assert "The database 'default' holds 3 unsent, 2 overdue, the first for 9" in found["evidence"]
    assert "streams outbox relay" in found["fix"]


def test_the_doctor_tells_what_the_server_said(streams: Streams) -> None:
    """Of the last that it refused."""
    streams(OUTBOX)
    unsent.refused("OOM command not allowed")
    found = examined()
    assert set(found) == {"outbox-refused"}
    assert "1 refused. The last error: OOM command not allowed" in found["outbox-refused"]["evidence"]


def test_the_doctor_finds_rows_of_a_stream_that_is_not_declared(streams: Streams) -> None:
    """A newer deploy's, or a removed one's; what is sent and kept needs nobody."""
    streams(OUTBOX)
    unsent.sent(stream="yesterdays")
    unsent.row(stream="tomorrows", ago=700, next_try=-690)
    found = examined()
    assert set(found) == {"outbox-undeclared"}
    assert found["outbox-undeclared"]["subject"] == "tomorrows"
    assert "1 unsent, the oldest 70" in found["outbox-undeclared"]["evidence"]


def test_the_doctor_finds_a_missing_table_where_a_stream_needs_it(streams: Streams, table_gone: None) -> None:
    """Without such a stream nobody does."""
    assert examined() == {}
    streams(OUTBOX)
    found = examined()
    assert set(found) == {"outbox-missing"}
    assert found["outbox-missing"]["subject"] == "database 'default'"
    fix = "Run `manage.py migrate django_redis_streams_outbox --database=default`."
    assert found["outbox-missing"]["fix"] == fix


def test_the_doctor_finds_a_missing_app(streams: Streams, settings: Any) -> None:
    """Where a stream needs it."""
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if "outbox" not in each]
    assert examined() == {}
    streams(OUTBOX)
    found = examined()
    assert set(found) == {"outbox-missing"}
    assert "INSTALLED_APPS has no 'django_redis_streams.outbox'" in found["outbox-missing"]["evidence"]
    assert scraped() == {}


def test_the_doctor_tells_what_is_kept_while_a_server_is_away(streams: Streams) -> None:
    """Other streams of the server have no outbox, nor has one whose table nobody could look at."""
    kept = "The outbox keeps what is published to orders: 2 unsent in 'default'."
    unsent.row()
    unsent.row()
    unsent.row(stream="mails")
    streams({**OUTBOX, "mails": {"GROUPS": {}}}, URL="unix:///no/server/here")
    (found,) = (each for each in diagnose() if each.code is Code.UNREACHABLE)
    assert found.message == f"The server can't be asked: nothing can be sent or consumed there. {kept}"
    away = [DatabaseFigures(database="default", problem=OutboxUnavailable("connection refused"))]
    assert kept_meanwhile("default", away) == ""
    streams({"mails": {"GROUPS": {}}}, URL="unix:///no/server/here")
    (found,) = (each for each in diagnose() if each.code is Code.UNREACHABLE)
    assert found.message == "The server can't be asked: nothing can be published or consumed there."


def test_the_doctor_tells_of_a_database_that_is_away(streams: Streams) -> None:
    """Nobody knows what waits there."""
    away = [DatabaseFigures(database="default", problem=OutboxUnavailable("connection refused"))]
    assert list(outbox_findings(away)) == []
    streams(OUTBOX)
    (found,) = outbox_findings(away)
    assert (found.code, found.evidence) == (Code("outbox-unasked"), "connection refused")


# ---------------------------------------------------------------- the state at a glance


def status(*words: str) -> Any:
    """What `streams status` says."""
    out = io.StringIO()
    with suppress(SystemExit):
        call_command("streams", "status", *words, stdout=out)
    return json.loads(out.getvalue()) if "--json" in words else out.getvalue()


def test_the_status_tells_what_is_unsent_and_nothing_where_all_is_sent(streams: Streams) -> None:
    """A line for each stream and database; of the streams that were asked for, if any."""
    streams(OUTBOX)
    unsent.sent()
    assert status("--json")["unsent"] == []
    assert "outbox" not in status()
    unsent.row(ago=125)
    unsent.refused()
    unsent.row(stream="tomorrows")
    assert "orders: 2 unsent in the outbox of database 'default', the oldest 2m old, 1 refused" in status()
    (told,) = status("orders", "--json")["unsent"]
    assert 125 <= told.pop("oldest") < 130
    assert told == {"database": "default", "stream": "orders", "unsent": 2, "overdue": 1, "refused": 1}


def test_the_status_tells_of_a_database_that_cannot_be_asked(streams: Streams, table_gone: None) -> None:
    """Where a stream needs it."""
    assert status("--json")["problems"] == {}
    streams(OUTBOX)
    assert "has no table" in status("--json")["problems"]["database 'default'"]


# ---------------------------------------------------------------- the metrics


def test_a_scrape_tells_how_much_is_unsent_and_for_how_long(streams: Streams) -> None:
    """Of each stream with an outbox, or with rows."""
    streams({**OUTBOX, "invoices": {"OUTBOX": "fallback"}, "direct": {}})
    unsent.row(ago=95)
    unsent.refused()
    unsent.sent()
    unsent.row(stream="tomorrows")
    found = scraped()
    messages = {labels[1:]: value for labels, value in found.items() if labels[0] == "redis_streams_outbox_messages"}
    assert messages == {("default", "orders"): 2, ("default", "invoices"): 0, ("default", "tomorrows"): 1}
    assert 95 <= found["redis_streams_outbox_oldest_seconds", "default", "orders"] < 100
    assert found["redis_streams_outbox_oldest_seconds", "default", "invoices"] == 0


def test_a_scrape_goes_on_without_the_table(
    streams: Streams, table_gone: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells, where a stream needs it."""
    assert scraped() == {}
    assert caplog.records == []
    streams(OUTBOX)
    assert scraped() == {}
    (told,) = caplog.records
    assert (told.levelno, "has no table for the outbox" in told.getMessage()) == (logging.WARNING, True)


def test_a_scrape_does_not_wait_for_a_database_that_hangs(streams: Streams, hanging: list[str]) -> None:
    """What the servers say is there in time."""
    streams(OUTBOX)
    began = time.monotonic()
    assert scraped() == {}
    assert time.monotonic() - began < 20
    assert hanging == ["default"]


def test_an_error_of_the_database_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that isn't about the table."""

    def fails(*_: Any) -> None:
        raise OperationalError("disk I/O error\n")

    unsent.refused()
    monkeypatch.setattr(figures_module, "_errors", fails)
    (found,) = figures()
    assert str(found.problem) == "The outbox of the database “default” can't be used: disk I/O error"


class AtOnce:
    """A question that is asked in the test's own thread: Django lets no other reach the other database."""

    def __init__(self, alias: str, ask: Callable[[str], Any]) -> None:
        self._answer = ask(alias)

    def answer(self, _: float) -> Any:
        """Return the answer."""
        return self._answer


@pytest.fixture
def forbidden(other: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The other database, with the table; since then a router keeps that out of it."""
    monkeypatch.setattr(stranding, "Question", AtOnce)
    with other.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    settings.DATABASE_ROUTERS = [OnlyDefault()]
    return other


@pytest.mark.usefixtures("forbidden")
def test_the_doctor_finds_what_waits_where_no_relay_looks(streams: Streams) -> None:
    """Of each stream, declared or not; not yet what may only be on its way."""
    streams(OUTBOX)
    unsent.row(ago=10, using="other")
    assert "outbox-forbidden" not in examined()
    unsent.row(ago=95, next_try=-90, using="other")
    unsent.row(ago=95, next_try=-90, using="other", stream="tomorrows")
    found = examined()["outbox-forbidden"]
    assert (found["level"], found["subject"]) == ("fault", "database 'other'")
    assert "'other' holds 1 of orders, 1 of tomorrows, the oldest 9" in found["evidence"]
    assert "allow_migrate" in found["fix"]


@pytest.mark.usefixtures("forbidden")
def test_the_doctor_takes_no_replica_for_a_database_of_its_own(streams: Streams) -> None:
    """It shows the rows of its primary, which are sent from there."""
    streams(OUTBOX)
    row = unsent.row(ago=95, next_try=-90)
    row.save(using="other", force_insert=True)
    assert "outbox-forbidden" not in examined()
    unsent.row(ago=95, next_try=-90, using="other")
    assert "holds 1 of orders" in examined()["outbox-forbidden"]["evidence"]


def test_a_database_that_never_had_the_table_is_no_finding(other: Any, streams: Streams, settings: Any) -> None:
    """Nor one that is away: it has nothing to do with the outbox."""
    streams(OUTBOX)
    settings.DATABASE_ROUTERS = [OnlyDefault()]
    assert examined() == {}
    connections.settings["gone"] = {**connections.settings["default"], "NAME": "/no/such/directory/db"}
    try:
        assert examined() == {}
    finally:
        del connections.settings["gone"]


def test_an_entry_without_an_engine_is_no_database(streams: Streams, settings: Any) -> None:
    """Django allows an empty "default", or any other."""
    connections.settings["nothing"] = {**connections.settings["default"], "ENGINE": "django.db.backends.dummy"}
    try:
        streams(OUTBOX)
        assert [each.database for each in figures()] == ["default"]
        assert examined() == {}
        assert list_unsent().problems == list_unsent(database="nothing").problems == []
    finally:
        del connections.settings["nothing"]


def test_a_list_of_large_messages_holds_few_of_them_at_once() -> None:
    """Whoever asks for some of them, with their bodies or without."""
    for _ in range(40):
        unsent.row("x" * 900_000)
    for count in (1, 40):
        tracemalloc.start()
        try:
            found = list_unsent(count=count, bodies=False).rows
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(found) == count
        assert peak < 20_000_000
