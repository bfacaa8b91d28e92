"""The system checks: what each says, and when it says nothing."""

import re
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections, models
from django.test.utils import isolate_apps

import django_redis_streams
from django_redis_streams import checks, handler, handlers, model_events, publishes
from django_redis_streams.diagnosis import asking, gathering
from django_redis_streams.inbox.models import InboxMessage
from django_redis_streams.worker.execution.sqlite import hasty_databases

from .catalogue.models import Author, Book
from .support import states

TAG = "django_redis_streams"


@pytest.fixture(autouse=True)
def alone():
    """Handlers and models are those that the test declares."""
    before = list(model_events._by_decorator)
    for declaration in before:
        model_events._by_decorator.remove(declaration)
    with handlers.isolated():
        yield
    for declaration in model_events._by_decorator:
        declaration.disconnect()
    model_events._by_decorator[:] = before


@pytest.fixture
def declare(settings):
    """Sets streams, and whatever else of `REDIS_STREAMS`. No server is there, nor needed."""

    def set_to(streams=None, **top):
        settings.REDIS_STREAMS = {
            "CONNECTIONS": {"default": {"URL": "unix:///nowhere/server.sock"}},
            "STREAMS": {"orders": {"MAXLEN": 1_000}} if streams is None else streams,
            **top,
        }

    return set_to


def found(*, deploy=False):
    """The findings about streams, as (id, level, text with its hint)."""
    messages = run_checks(tags=[TAG], include_deployment_checks=deploy)
    return [(each.id.removeprefix(f"{TAG}."), f"{each.msg} {each.hint or ''}".rstrip()) for each in messages]


def ids(**options):
    """The ids of the findings."""
    return [identity for identity, _ in found(**options)]


def handle(*, group="billing", stream="orders", **options):
    """Declare a handler."""

    def function(message):
        """Do nothing."""

    handler(stream, group=group, **options)(function)


BILLING = {"orders": {"GROUPS": {"billing": {}}}}


# ---------------------------------------------------------------- settings


def test_sound_project_has_no_findings(declare):
    """A declared group with a handler, and a model whose events it takes."""
    declare(BILLING)
    publishes("orders")(Book)
    handle()
    assert found() == []


def test_empty_project_has_no_findings(settings):
    """The app may be installed before anything is declared."""
    settings.REDIS_STREAMS = None
    assert found(deploy=True) == []


@pytest.mark.parametrize("name", ["REDIS_STREAM", "REDIS_STREAMES", "REDISSTREAMS"])
def test_a_misspelt_setting_is_told(settings, name):
    """Without it nothing is declared, and nothing else would say why."""
    settings.REDIS_STREAMS = None
    del settings.REDIS_STREAMS
    setattr(settings, name, {"STREAMS": {"orders": {}}})
    ((identity, text),) = found()
    assert identity == "W001"
    assert text.startswith(f"The settings have {name} and no REDIS_STREAMS: no stream is declared.")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"socket_timeout": 8}, "up to 10 s"),
        ({"socket_timeout": 7.9}, None),
        ({"socket_timeout": 4, "socket_connect_timeout": 6}, "up to 10 s"),
        ({"socket_timeout": None}, "without end"),
        ({"socket_connect_timeout": None}, "without end"),
        ({}, None),
    ],
)
def test_time_outs_that_outlast_the_lease_of_rows_are_found(streams, options, said):
    """A relay may send meanwhile what its publisher still sends; without the outbox nothing is to be said."""
    streams({"orders": {"OUTBOX": "always"}, "views": {"OUTBOX": "fallback"}}, OPTIONS=options)
    told = [text for identity, text in found() if identity == "W002"]
    assert [f"waits {said} to connect" in text for text in told] == ([] if said is None else [True])
    assert all("'orders'. So" in text for text in told)
    streams({"views": {"OUTBOX": "fallback"}}, OPTIONS=options)
    assert "W002" not in ids()


@pytest.mark.parametrize(
    ("given", "identity"),
    [
        ({"STREEMS": {}}, "E001"),
        ({"streams": {"orders": {"MAXLEN": 0}}}, "E002"),
        ({"CONNECTIONS": {"default": {}}}, "E003"),
        ({"streams": {"orders": {"CONNECTION": "x"}}}, "E004"),
        ({"streams": {"{orders}": {}}}, "E005"),
        ({"streams": {"orders": {"DEAD_LETTER_STREAM": "orders"}}}, "E006"),
        ({"CONNECTIONS": {"default": {"URL": "redis://localhost/zero"}}}, "E007"),
        ({"CONNECTIONS": {"default": {"URL": "redis://localhost", "OPTIONS": {"no_such": 1}}}}, "E007"),
    ],
)
def test_settings_that_cannot_work_are_errors(declare, given, identity):
    """Each problem of the settings is a finding, and alone: what follows from it would only hide it."""
    declare(**given)
    handle(group="undeclared")
    assert set(ids(deploy=True)) == {identity}


def test_embedded_without_a_place_is_an_error(declare, settings):
    """`embedded://` is under `BASE_DIR`: without that it says so before anything is started."""
    declare(CONNECTIONS={"default": {"URL": "embedded://"}})
    settings.BASE_DIR = None
    ((identity, text),) = found()
    assert identity == "E007"
    assert "BASE_DIR" in text


def test_findings_name_the_nearest_key(declare):
    """The hint is what to change."""
    declare({"orders": {"MAX_LEN": 5}})
    assert found() == [
        ("E001", "REDIS_STREAMS['STREAMS']['orders'] has an unknown key 'MAX_LEN'. Did you mean 'MAXLEN'?")
    ]


@pytest.mark.django_db  # from Django 6.1 on `check` asks the database whether it has JSON fields
def test_check_command_fails_on_an_error(declare):
    """As with every system check: what is wrong keeps the project from starting."""
    declare({"orders": {"MAXLEN": 0}})
    with pytest.raises(SystemCheckError, match=r"django_redis_streams\.E002"):
        call_command("check")


# ---------------------------------------------------------------- handlers


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"stream": "ordres"}, "Stream 'ordres' isn't declared in REDIS_STREAMS['STREAMS']. Did you mean 'orders'?"),
        ({"group": "biling"}, "Group 'biling' isn't declared"),
    ],
)
def test_handler_of_what_is_not_declared(declare, where, said):
    """It would never be run."""
    declare(BILLING)
    handle()
    handle(**where)
    ((identity, text),) = found()
    assert identity == "E010"
    assert said in text
    assert "tests.test_checks.handle.<locals>.function would never be run" in text


def test_handlers_of_one_type(declare):
    """Which of the two runs would be left to chance."""
    declare(BILLING)
    handle(type="a")
    handle(type=["b", "a"])
    ((identity, text),) = found()
    assert identity == "E011"
    assert "both take the type 'a' in group 'billing'" in text


def test_group_without_a_handler(declare):
    """Only a warning: another program may consume it."""
    declare({"orders": {"GROUPS": {"billing": {}, "node": {}}}})
    handle()
    ((identity, text),) = found()
    assert identity == "W010"
    assert text.startswith("Group 'node' of stream 'orders' has no handler")


def test_unknown_database_of_a_handler(declare):
    """The decorator reads no settings, so this is found here."""
    declare(BILLING)
    handle(atomic="defualt")
    ((identity, text),) = found()
    assert identity == "E013"
    assert "has atomic='defualt', which is no database. Did you mean 'default'?" in text


def test_once_in_an_unknown_database(declare):
    """It is told as such, and not that its table is missing."""
    declare(BILLING)
    handle(once="defualt")
    ((identity, text),) = found()
    assert identity == "E013"
    assert "has once='defualt', which is no database. Did you mean 'default'?" in text


def test_once_without_the_app_of_the_inbox(declare, settings):
    """No worker serves the group."""
    declare(BILLING)
    handle(once=True)
    assert found() == []
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if each != "django_redis_streams.inbox"]
    ((identity, text),) = found()
    assert identity == "E018"
    assert "has once='default', and the app of the inbox isn't installed." in text
    assert text.endswith("add 'django_redis_streams.inbox' to INSTALLED_APPS, and run manage.py migrate.")


@pytest.mark.django_db
def test_once_without_the_table_of_the_inbox(declare, other):
    """A database is asked where `check --deploy` names it; `migrate`, which makes the table, goes on."""
    declare({"orders": {"GROUPS": {"billing": {}}, "MAXLEN": 9}})
    handle(once="other")

    def asked(*databases, deploy=True):
        messages = run_checks(tags=[TAG], include_deployment_checks=deploy, databases=databases)
        return {each.id.removeprefix(f"{TAG}."): (each.msg, each.hint) for each in messages if ".E" in each.id}

    assert asked() == asked("default") == asked("other", deploy=False) == {}
    ((identity, (text, hint)),) = asked("default", "other").items()
    assert identity == "E018"
    assert "'other' has no table 'django_redis_streams_inbox_inboxmessage'" in text
    assert hint == "Run `manage.py migrate django_redis_streams_inbox --database=other`."
    with other.schema_editor() as editor:
        editor.create_model(InboxMessage)
    assert asked("other") == {}


def test_an_inbox_that_forgets_too_soon(declare):
    """The error says how long a message may come again: all waits and runs, and a day without its database."""
    group = {"MAX_RETRIES": 2, "BACKOFF": (10, 15), "TIMEOUT": 100, "CLAIM_IDLE": 20}
    longest = 10 + 15 + 3 * (100 + 20) + 86_400
    declare({"orders": {"GROUPS": {"billing": {**group, "INBOX_RETENTION": longest}}}})
    handle(once=True)
    assert found() == []
    declare({"orders": {"GROUPS": {"billing": {**group, "INBOX_RETENTION": longest - 1}}}})
    ((identity, text),) = found()
    assert identity == "E019"
    assert "orders:billing has an INBOX_RETENTION of 86,784 seconds, but" in text
    assert "may come again for 86,785 seconds by its retries" in text


def test_an_inbox_of_a_handler_with_options_of_its_own(declare):
    """Its retries are what counts."""
    declare({"orders": {"GROUPS": {"billing": {"INBOX_RETENTION": 100_000}}}})
    handle(once=True, type="a")
    assert found() == []
    handle(once=True, type="b", max_retries=100)
    assert ids() == ["E019"]
    declare({"orders": {"GROUPS": {}}})
    assert ids() == ["E010"]


@pytest.fixture
def undiscovered(alone):
    """A project whose handlers nobody has asked for yet; undone before what `alone` did."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handlers.registry, "_registry", handlers.registry._Registry())
        yield


@pytest.mark.usefixtures("undiscovered")
def test_module_of_handlers_that_is_not_there(declare):
    """The setting is named; no other check of handlers is made, for there is no saying what is missing."""
    declare(BILLING, HANDLER_MODULES=["no_such_module"])
    ((identity, text),) = found()
    assert identity == "E014"
    assert "'no_such_module'" in text


@pytest.mark.usefixtures("undiscovered")
def test_module_of_handlers_that_cannot_be_imported(declare):
    """It is named with file, line and error, and with the groups that no worker serves; those have no other finding."""
    groups = {"billing": {}, "loyalty": {}}
    declare({"orders": {"GROUPS": groups}}, HANDLER_MODULES=["tests.support.broken_handlers"])
    (identity, text), (missing, other) = sorted(each for each in found() if each[0] != "E010")
    assert identity == "E015"
    assert text.startswith("tests.support.broken_handlers can't be imported: RuntimeError: no such gateway (")
    assert "/tests/support/broken_handlers.py, line 12). Correct it." in text
    assert text.endswith("Until then no worker serves orders:loyalty.")
    assert missing == "W010"
    assert other.startswith("Group 'billing'")


@pytest.mark.parametrize("unmatched", ["skip", "dead-letter"])
def test_types_that_nobody_of_a_group_takes(declare, unmatched):
    """They would end in the dead letter queue by default: that must have been meant."""
    declare(BILLING)
    publishes("orders")(Book)
    handle(type=["catalogue.book.created", "catalogue.book.up*"])
    ((identity, text),) = found()
    assert identity == "E012"
    assert "has no handler for catalogue.book.deleted, which models publish there" in text
    declare({"orders": {"GROUPS": {"billing": {"UNMATCHED": unmatched}}}})
    assert found() == []


def test_handler_of_all_types_takes_the_rest(declare):
    """A group with one needs no `UNMATCHED`; nor does one on whose stream no model publishes."""
    declare({"orders": {"GROUPS": {"billing": {}}}, "tasks": {"GROUPS": {"billing": {}}}})
    publishes("orders")(Book)
    handle(type="catalogue.book.created")
    handle()
    handle(stream="tasks", type="anything")
    assert found() == []


@pytest.mark.parametrize(
    ("awaited", "hint"),
    [
        ("catalogue.book.deleted", "Did you mean 'catalogue.book.created'?"),
        ("catalogue.bok.created", "Did you mean 'catalogue.book.created'?"),
        ("catalogue.author.created", "Did you mean"),
        ("Catalogue.Book.created", "Did you mean 'catalogue.book.created'?"),
    ],
)
def test_events_that_no_model_publishes(declare, awaited, hint):
    """A model's event that nobody publishes, or nearly the name of one that is."""
    declare({"orders": {"GROUPS": {"billing": {"UNMATCHED": "skip"}}}})
    publishes("orders", on=["created"])(Book)
    handle(type=awaited)
    ((identity, text),) = found()
    assert identity == "W011"
    assert f"waits for {awaited!r}, which no model publishes to 'orders'." in text
    assert hint in text


@pytest.mark.parametrize("awaited", ["order.imported", "invoice.created", "billing.invoice.created", "catalogue.*"])
def test_types_that_may_come_from_anywhere(declare, awaited):
    """`publish()` and other programs may send any type: no finding."""
    declare({"orders": {"GROUPS": {"billing": {"UNMATCHED": "skip"}}}})
    publishes("orders", on=["created"])(Book)
    handle(type=awaited)
    assert found() == []


def test_events_on_a_stream_that_no_model_publishes_to(declare):
    """There all events are published by hand, or by another program."""
    declare(BILLING)
    handle(type="catalogue.book.created")
    assert found() == []


# ---------------------------------------------------------------- models


def test_model_that_is_not_there(declare):
    """The nearest model is named."""
    declare({"orders": {"MODELS": {"catalogue.Bok": {}, "nonsense": {}}}})
    (first, first_text), (second, _) = found()
    assert (first, second) == ("E020", "E020")
    assert "names 'catalogue.Bok', which is no model. Did you mean 'catalogue.Book'?" in first_text


@pytest.mark.parametrize("field", ["titel", "readers", "scan"])
def test_field_that_cannot_be_published(declare, field):
    """In `MODELS` it is found here; the decorator finds it itself."""
    declare({"orders": {"MODELS": {"catalogue.Book": {"FIELDS": [field]}}}})
    ((identity, text),) = found()
    assert identity == "E021"
    assert f"catalogue.Book can't publish the field {field!r}" in text


def test_model_of_an_undeclared_stream(declare):
    """Every save would raise."""
    declare()
    publishes("ordres")(Author)
    ((identity, text),) = found()
    assert identity == "E022"
    assert text.startswith("catalogue.Author publishes to 'ordres', which isn't declared in REDIS_STREAMS['STREAMS'].")
    assert text.endswith("Did you mean 'orders'?")


def test_event_that_is_published_twice(declare):
    """By a decorator and by the settings, say: each group would do everything twice."""
    declare({"orders": {"MODELS": {"catalogue.Book": {"ON": ["created"]}}}})
    publishes("orders", on=["created", "deleted"])(Book)
    ((identity, text),) = found()
    assert identity == "W020"
    assert text.startswith("catalogue.Book publishes created twice to 'orders'.")


@pytest.mark.skipif(not hasattr(models, "DB_CASCADE"), reason="Django has DB_CASCADE from 6.1 on")
@isolate_apps("tests.catalogue")
def test_rows_that_the_database_deletes_are_warned_of(declare):
    """Their deletion sends no signal. What is published of other events is no finding."""
    declare()

    class Note(models.Model):
        author = models.ForeignKey(Author, on_delete=models.DB_CASCADE)

        class Meta:
            app_label = "catalogue"

        def __str__(self):
            return f"{self.author_id}"

    publishes("orders", on=["created", "updated"])(Note)
    assert found() == []
    publishes("orders", on=["deleted"])(Note)
    ((identity, text),) = found()
    assert identity == "W022"
    assert text.startswith("catalogue.Note publishes its deletions to 'orders', but not those that follow from its 'au")


def test_declarations_that_differ_are_no_finding(declare):
    """Another event, type, stream or model is another thing to tell."""
    declare({"orders": {}, "tasks": {}})
    for options in ({"on": ["created"]}, {"on": ["deleted"]}, {"on": ["created"], "type": "book.new"}):
        publishes("orders", **options)(Book)
    publishes("tasks", on=["created"])(Book)
    publishes("orders", on=["created"])(Author)
    assert found() == []


# ---------------------------------------------------------------- servers


PATIENT = {
    "transaction_mode": "immediate",
    "timeout": 20,
    "init_command": "PRAGMA synchronous=NORMAL; PRAGMA Journal_Mode = wal;",
}


@pytest.fixture
def sqlite(monkeypatch):
    """Sets what the settings say of the database; nothing is opened."""

    def set_to(**changed):
        made = {**connections.settings["default"], **changed}
        monkeypatch.setitem(connections.settings, "default", made)

    return set_to


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({}, ["transaction_mode", "timeout", "journal_mode"]),
        ({**PATIENT, "transaction_mode": "DEFERRED"}, ["transaction_mode"]),
        ({**PATIENT, "transaction_mode": None}, ["transaction_mode"]),
        ({**PATIENT, "timeout": 5}, ["timeout"]),
        ({**PATIENT, "timeout": "20"}, ["timeout"]),
        ({**PATIENT, "init_command": "PRAGMA journal_mode=DELETE"}, ["journal_mode"]),
        (PATIENT, []),
        ({**PATIENT, "transaction_mode": "EXCLUSIVE"}, []),
    ],
)
def test_options_of_sqlite_that_a_worker_needs(declare, sqlite, options, missing):
    """Under --deploy, each that is missing is named, and all that are wanted; `migrate` says nothing of it."""
    declare({"orders": {"GROUPS": {"billing": {}}}})
    handler("orders", group="billing")(lambda _: None)
    sqlite(ENGINE="django.db.backends.sqlite3", NAME="/nowhere/db.sqlite3", OPTIONS=options)
    said = [text for text, mend in hasty_databases() if '"transaction_mode": "IMMEDIATE"' in mend]
    assert len(said) == bool(missing)
    for text in said:
        assert "'default'" in text
        assert [each for each in ("transaction_mode", "timeout", "journal_mode") if each in text] == missing
    assert [each.id for each in checks.check_databases()] == [f"{TAG}.W012"] * bool(missing)
    assert ids() == []


def test_other_databases_and_projects_without_handlers_need_none(declare, sqlite, settings):
    """Nor does one in memory, as tests have it; and who knows better silences it."""
    declare({"orders": {"GROUPS": {"billing": {}}}})
    hasty = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere/db.sqlite3", "OPTIONS": {}}
    sqlite(**hasty)
    assert checks.check_databases() == []
    handler("orders", group="billing")(lambda _: None)
    assert [each.id for each in checks.check_databases()] == [f"{TAG}.W012"]
    for change in (
        {"ENGINE": "django.db.backends.postgresql"},
        {"NAME": ":memory:"},
        {"NAME": "file:x?mode=memory&cache=shared"},
    ):
        sqlite(**{**hasty, **change})
        assert checks.check_databases() == []
    sqlite(**hasty)
    settings.SILENCED_SYSTEM_CHECKS = [f"{TAG}.W012"]
    assert checks.check_databases() == []


@pytest.mark.parametrize("bound", [{}, {"MAXLEN": 1}, {"MAX_AGE": 60}, {"HARD_MAXLEN": 1}])
def test_a_stream_without_a_bound_is_told_under_deploy(declare, bound):
    """It grows for ever."""
    declare({"orders": bound})
    assert [each.id for each in checks.check_streams()] == [] if bound else [f"{TAG}.W013"]
    assert ids() == [each for each in ids() if each != "W013"]


def test_servers_are_asked_under_deploy_only(declare):
    """`check` without `--deploy`, as `runserver` and `migrate` run it, goes nowhere."""
    declare()
    assert ids() == []
    assert ids(deploy=True) == ["W030"]


def test_sound_server_has_no_findings(streams):
    """The server of the tests keeps an append-only file and evicts nothing."""
    streams({})
    assert found(deploy=True) == []


def test_what_was_renamed_is_told_before_it_is_deployed(streams, raw):
    """Whoever deploys would otherwise have a group's history run again, and a stream's messages wait for ever."""
    streams({"orders": {"MAXLEN": 1, "GROUPS": {"billing": {}}}})
    states.publish(raw, {"n": "1"})
    states.acknowledge()
    states.publish(raw, {"n": "2"})
    streams({"orders": {"MAXLEN": 1, "GROUPS": {"invoicing": {}}}})
    (told,) = checks.check_servers()
    assert told.id == f"{TAG}.W036"
    assert told.msg.startswith("orders:invoicing: Was group 'billing' renamed to 'invoicing'?")
    states.forget_consumers(raw)
    streams({"purchases": {"MAXLEN": 1, "GROUPS": {"billing": {}}}})
    (told,) = checks.check_servers()
    assert told.id == f"{TAG}.W037"
    assert "Declare 'orders' again" in told.hint


def test_embedded_server_is_for_development(declare, tmp_path, monkeypatch):
    """In production it is an error, and the check starts none."""
    monkeypatch.setattr(asking.connections, "open", lambda alias, **_: pytest.fail(f"asked {alias!r}"))
    declare(CONNECTIONS={"default": {"URL": f"embedded://{tmp_path}/streams"}})
    assert ids() == []
    ((identity, text),) = found(deploy=True)
    assert identity == "E030"
    assert "Connection 'default': The server is one for development" in text


def test_server_that_would_lose_messages(streams, make_server):
    """Eviction and the lack of a file are findings, each with what to set."""
    server = make_server(appendonly="no", maxmemory_policy="allkeys-lru")
    streams({}, URL=server.url)
    (evicts, evicts_text), (forgets, forgets_text) = found(deploy=True)
    assert (evicts, forgets) == ("W033", "W034")
    assert "maxmemory_policy:allkeys-lru" in evicts_text
    assert "Set appendonly to yes." in forgets_text


def test_server_that_may_not_be_asked(streams, server):
    """An ACL without INFO: it says that nothing could be looked at, and what would let it."""
    streams({}, URL=server.user("app", "s3cret", "+@all", "-info", "~*"))
    ((identity, text),) = found(deploy=True)
    assert identity == "W031"
    assert "Allow the user of the connection INFO" in text
    assert "s3cret" not in text


@contextmanager
def answering(reply=b""):
    """A server that gives this reply to INFO, and refuses all else; without one it says nothing at all."""
    done = threading.Event()

    def answer(near):
        with near, suppress(OSError):
            while asked := near.recv(65536):
                if not reply:
                    done.wait(10)
                near.sendall(reply if b"INFO" in asked.split() else b"-ERR no\r\n" * asked.count(b"*"))

    def serve():
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=answer, args=(near,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        done.set()


# What else the findings need of a server.
TOLD = "\r\nmaxmemory:0\r\nrole:master"


def info(text):
    """INFO's reply."""
    return f"${len(text)}\r\n{text}\r\n".encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"redis_version:6.0.16\r\nmaxmemory_policy:noeviction\r\naof_enabled:1{TOLD}", ["W032"]),
        (f"redis_version:6.2.0\r\nmaxmemory_policy:noeviction\r\naof_enabled:1{TOLD}", []),
        (f"redis_version:10.0.0\r\nmaxmemory_policy:noeviction\r\naof_enabled:1{TOLD}", []),
        (f"redis_version:unstable\r\nmaxmemory_policy:noeviction\r\naof_enabled:0{TOLD}", ["W031", "W034"]),
        ("redis_version:6.2.0\r\nmaxmemory_policy:noeviction\r\naof_enabled:1", ["W031"]),
        ("# Server\r\n", ["W031"]),
    ],
)
def test_what_a_server_tells_is_judged(declare, text, expected):
    """A version that is too old, and what it doesn't tell: a proxy or a managed service may hide it."""
    with answering(info(text)) as url:
        declare(CONNECTIONS={"default": {"URL": url}})
        assert ids(deploy=True) == expected


def test_silent_server_does_not_hang_the_check(declare):
    """It accepts and says nothing: two seconds later that is the finding."""
    with answering() as url:
        declare(CONNECTIONS={"default": {"URL": url, "OPTIONS": {"socket_timeout": 60}}})
        since = time.monotonic()
        assert ids(deploy=True) == ["W030"]
        assert time.monotonic() - since < 30


def test_server_behind_a_black_hole_does_not_hang_the_check(declare, monkeypatch):
    """Whatever else may take long, such as finding or reaching the address, an end is set to all of it."""
    monkeypatch.setattr(gathering, "_WITHIN", 0.5)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        with suppress(TimeoutError):
            while True:  # until nobody more is let in
                stack.enter_context(socket.create_connection(listener.getsockname(), timeout=0.2))
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}"
        declare(CONNECTIONS={"default": {"URL": url, "OPTIONS": {"socket_connect_timeout": 30}}})
        since = time.monotonic()
        ((identity, text),) = found(deploy=True)
        assert time.monotonic() - since < 15
    assert identity == "W030"
    assert "Connection 'default' didn't answer within 0.5 s." in text


def test_password_is_not_in_a_finding(declare):
    """What a check says ends up in logs of a deployment."""
    declare(CONNECTIONS={"default": {"URL": "redis://app:s3cret@localhost:1"}})
    ((identity, text),) = found(deploy=True)
    assert identity == "W030"
    assert "s3cret" not in text


# ---------------------------------------------------------------- the outbox


def test_an_outbox_without_its_app(declare, settings):
    """`publish` would raise."""
    declare({"orders": {"OUTBOX": "fallback"}, "others": {}})
    assert ids() == []
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if not each.endswith(".outbox")]
    ((identity, text),) = found()
    assert identity == "E016"
    assert "['orders'] has the 'OUTBOX' 'fallback'" in text
    assert checks.check_outbox_tables(databases=["default"]) == []


@pytest.mark.django_db  # from Django 6.1 on, all checks ask databases
def test_a_server_that_is_away_says_what_the_outbox_keeps(declare, settings):
    """By the settings alone, as no database is asked. Other streams have no outbox, nor have any without its app."""
    declare({"orders": {"OUTBOX": "always"}, "views": {"OUTBOX": "fallback"}, "mails": {}})
    away = dict(found(deploy=True))["W030"]
    assert "nothing can be sent or consumed there. The outbox keeps what is published to orders, views, where" in away
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if not each.endswith(".outbox")]
    assert all("The outbox keeps" not in text for _, text in found(deploy=True))
    declare({"mails": {}})
    assert "The outbox" not in dict(found(deploy=True))["W030"]


class Elsewhere:
    """A router that lets no table into "other"."""

    def allow_migrate(self, db, *_, **__):
        """Asked by Django."""
        return db != "other"


class Everywhere:
    """A router that has no opinion."""


@pytest.mark.django_db
def test_a_database_without_the_table_of_the_outbox(declare, other, settings):
    """It is told of those that are asked for, where a router lets the table in."""
    declare({"orders": {"OUTBOX": "always"}})

    def told(databases):
        asked = run_checks(tags=[TAG], include_deployment_checks=True, databases=databases)
        return [
            (each.id, each.msg, each.hint)
            for each in asked
            if each.id != f"{TAG}.W030" and not each.id.endswith("W013")
        ]

    assert told(["default"]) == []
    ((identity, text, hint),) = told(["default", "other"])
    assert identity == f"{TAG}.E017"
    assert "Database 'other' has no table 'django_redis_streams_outbox_outboxmessage'" in text
    assert hint == "Run `manage.py migrate django_redis_streams_outbox --database=other`."
    settings.DATABASE_ROUTERS = [Everywhere()]
    ((*_, hint),) = told(["default", "other"])
    assert hint.startswith("Run `manage.py migrate django_redis_streams_outbox --database=other`. DATABASE_ROUTERS ")
    settings.DATABASE_ROUTERS = [Elsewhere()]
    assert told(["default", "other"]) == []
    settings.DATABASE_ROUTERS = []
    declare({"orders": {}})
    assert told(["default", "other"]) == []


# ---------------------------------------------------------------- the table


def test_checks_use_no_database(declare):
    """None of them may open a connection, as this test may not."""
    declare(BILLING)
    assert checks.check_servers() != []


def test_table_of_ids_is_complete():
    """Each id that is reported is explained, and each that is explained is reported."""
    package = Path(django_redis_streams.__file__).parent
    sources = [*(package / "checks").glob("[a-z]*.py"), package / "conf" / "parse.py"]
    reported = {each for path in sources for each in re.findall(r"[.\"]([EW]\d{3})\"", path.read_text())}
    assert reported == set(re.findall(r"^\| ([EW]\d{3}) \|", checks.__doc__, re.MULTILINE))
