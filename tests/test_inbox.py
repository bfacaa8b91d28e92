"""The inbox: the effect of a message in the database happens once, on SQLite and PostgreSQL."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import DatabaseError, connection, connections, models, transaction
from django.db.models.functions import Now
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext, isolate_apps

from django_redis_streams import Message, Reject, handlers, inbox, inspection, publish, publish_many, signals
from django_redis_streams.conf import GroupConfig, StreamConfig
from django_redis_streams.exceptions import ConfigurationError, HandlerError
from django_redis_streams.handlers import handler
from django_redis_streams.inbox import inserting, rows
from django_redis_streams.inbox.models import InboxMessage
from django_redis_streams.keys import StreamKeys
from django_redis_streams.message import new_id
from django_redis_streams.operations import dead_letters
from django_redis_streams.outcomes import HANDLED, REPEATED, Outcome
from django_redis_streams.store.consume import delivery as store
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.testing import drain
from django_redis_streams.wire import Origin
from django_redis_streams.worker.execution.executor import Executor, Permission, Runs
from django_redis_streams.worker.services.inbox import InboxUpkeep
from django_redis_streams.worker.shared.scoreboard import Slots
from django_redis_streams.worker.timing import DEFAULT_TIMING

from .support import workers
from .support.books import letters, totals
from .support.postgresql import forget_connections
from .support.waiting import wait_until

Raw = Any

BILLING = {"BACKOFF": (0.01, 0.01), "INBOX_RETENTION": 3600}
STREAMS = {"orders": {"GROUPS": {"billing": BILLING, "loyalty": {}}}, "mails": {"GROUPS": {"billing": {}}}}
STREAM = StreamConfig(name="orders", keys=StreamKeys("orders"))
GROUP = GroupConfig(name="billing", inbox_retention=3600)
ORIGIN = Origin(stream="orders", group="billing", key="orders")

with isolate_apps("tests.catalogue"):

    class Effect(models.Model):
        """What handlers do: add a row, which nothing keeps from being added twice."""

        name = models.CharField(max_length=100)

        class Meta:
            app_label = "catalogue"
            db_table = "effects_of_handlers"

        def __str__(self) -> str:
            return self.name


pytestmark = pytest.mark.usefixtures("isolated_handlers")


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"], autouse=True)
def database(request: pytest.FixtureRequest, use_database: Callable[..., None], tmp_path: Path) -> str:
    """Each of the three as the default database, with the two tables and nothing in them; which one it is."""
    if request.param == "sqlite":
        use_database(NAME=tmp_path / "inbox.sqlite3", OPTIONS={"transaction_mode": "IMMEDIATE", "timeout": 20})
    else:
        use_database(**request.getfixturevalue(request.param).settings)
    with connection.schema_editor() as editor:
        for model in (Effect, InboxMessage):
            editor.execute(f"DROP TABLE IF EXISTS {model._meta.db_table}")
            editor.create_model(model)
    forget_connections()
    return str(request.param)


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Any]:
    """A second database, "second", of SQLite, empty."""
    engine = "django.db.backends.sqlite3"
    connections.settings["second"] = {**connections.settings["default"], "ENGINE": engine, "NAME": tmp_path / "second"}
    yield connections["second"]
    connections["second"].close()
    del connections["second"]
    del connections.settings["second"]


@pytest.fixture(autouse=True)
def declared(streams: Any) -> None:
    """The streams of these tests."""
    streams(STREAMS)


def effects() -> list[str]:
    """The effects that are committed."""
    return sorted(Effect.objects.values_list("name", flat=True))


def remembered() -> int:
    """How many rows the inbox has."""
    return InboxMessage.objects.count()


def add(message: Message) -> None:
    """Have the effect of a message."""
    Effect.objects.create(name=str(message.payload))


def add_each(messages: Sequence[Message]) -> None:
    """Have the effects of some."""
    Effect.objects.bulk_create(Effect(name=str(each.payload)) for each in messages)


def again(raw: Raw, stream: str = "orders") -> None:
    """Deliver each message of the stream once more, as the entry that it is."""
    for _, fields in raw.xrange(stream):
        raw.xadd(stream, fields)


def missing() -> int | None:
    """How many messages the books of billing have lost; None where the server doesn't tell."""
    (found,) = [each.missing for each in inspection.books("orders") if each.group == "billing"]
    return found


def identity(name: str) -> str:
    """The id of the message of this name."""
    return str(uuid5(NAMESPACE_OID, name))


def run(*names: str) -> list[Outcome]:
    """What comes of messages of these names, run in this thread by one call of the executor."""
    entries = [(f"{n}-0", ["id", identity(each), "data", f'"{each}"']) for n, each in enumerate(names, start=1)]
    batch = store.deliveries(ORIGIN, "orders", entries)
    with closing(Executor(handlers.of("orders", "billing"), GROUP, Slots(STREAM, GROUP))) as executor:
        for _ in executor.run(batch, Permission(lambda _: True), Runs([])):
            pass
    return [each.outcome for each in batch if each.outcome is not None]


def message(name: str = "m", *, stream: str = "orders", group: str = "billing") -> Message:
    """The message of this name, as a handler gets it."""
    return Message(id=identity(name), stream=stream, group=group, payload=name)


def of_id(identity: str, group: str = "billing") -> Message:
    """A message of this very id."""
    return Message(id=identity, stream="orders", group=group, payload=None)


def in_thread(work: Callable[[], None]) -> threading.Thread:
    """Start what is to be done at the same time, on a connection of its own."""

    def guarded() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    return thread


# ---------------------------------------------------------------- a message that comes again


def test_a_message_that_comes_again_has_its_effect_once(raw: Raw) -> None:
    """The second delivery is acknowledged unrun, counted as repeated, and the books balance."""
    handler("orders", group="billing", once=True)(add)
    publish_many("orders", ["a", "b"])
    again(raw)
    drained = drain("orders:billing")
    assert (drained.acknowledged, drained.repeated, drained.settled) == (2, 2, 4)
    again(raw)
    drain("orders:billing")
    assert effects() == ["a", "b"]
    assert totals(raw) == {"acknowledged": 2, "repeated": 6}
    assert missing() in {0, None}


def test_a_message_that_is_claimed_after_its_commit_is_repeated(raw: Raw, streams: Any) -> None:
    """Its worker was lost after the commit, and before it could acknowledge."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 0.2}}}})
    handler("orders", group="billing", once=True)(add)
    publish("orders", "a")
    raw.xgroup_create("orders", "billing", "0")
    ((_, [(entry_id, fields)]),) = raw.xreadgroup("billing", "lost", {"orders": ">"})
    (lost,) = handlers.of("orders", "billing")
    lost.in_transaction(Message(id=fields["id"], stream="orders", group="billing", payload="a"))
    raw.xclaim("orders", "billing", "lost", 0, [entry_id], idle=3_600_000, justid=True)
    workers.drain("orders", "billing")
    assert totals(raw) == {"repeated": 1}
    assert effects() == ["a"]
    assert raw.xpending("orders", "billing")["pending"] == 0


def test_a_worker_counts_and_logs_what_is_repeated(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """In the figures of the minute, and by a line as that of one that was handled."""
    handler("orders", group="billing", once=True)(add)
    first = publish("orders", "a")
    again(raw)
    with caplog.at_level("DEBUG", "django_redis_streams"):
        workers.drain("orders", "billing")
    found = inspection.activity("orders").of("orders", "billing")
    assert found is not None
    assert [found.last(5).acknowledged, found.last(5).repeated, found.last(5).settled] == [1, 1, 2]
    assert f"orders:billing left out {first.id!r}, as its effect was committed before" in caplog.messages


def test_a_run_that_failed_leaves_nothing_behind_and_runs_again(raw: Raw) -> None:
    """Its row is rolled back with its effect."""

    @handler("orders", group="billing", once=True)
    def fail_twice(message: Message) -> None:
        add(message)
        if message.attempt < 3:
            assert remembered() == 1
            raise LookupError

    publish("orders", "a")
    drain("orders:billing", hasten=True)
    assert effects() == ["a"]
    assert totals(raw) == {"acknowledged": 1, "retried": 2}


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("by", ["raised", "marked"])
def test_what_was_rejected_runs_when_it_is_replayed(raw: Raw, by: str, batch: bool) -> None:
    """It had no effect that would keep it from running; once it has, it is acknowledged unrun."""
    wrong = [True]

    def reject(message: Message) -> None:
        if wrong and by == "raised":
            raise Reject("not yet")
        if wrong:
            message.reject("not yet")
        else:
            add(message)

    handler("orders", group="billing", once=True, batch=batch)(
        (lambda messages: [reject(each) for each in messages] and None) if batch else reject
    )
    publish("orders", "a")
    drain("orders:billing")
    assert len(letters(raw)) == 1
    assert remembered() == 0
    wrong.clear()
    (letter,) = inspection.dead_letters(stream="orders").rows
    dead_letters.replay("orders", [letter.entry_id], by="ann")
    drain("orders:billing")
    again(raw)
    drain("orders:billing")
    assert effects() == ["a"]
    assert totals(raw) == {"dead-lettered": 1, "replayed": 1, "acknowledged": 1, "repeated": 1}
    assert missing() in {0, None}


def test_what_was_marked_to_run_again_runs_again(raw: Raw) -> None:
    """What the run has written is committed, as it returned; the message is no more known than before."""

    @handler("orders", group="billing", once=True)
    def ask_once(message: Message) -> None:
        add(message)
        if message.attempt == 1:
            message.retry(0)

    publish("orders", "a")
    drain("orders:billing", hasten=True)
    assert effects() == ["a", "a"]
    assert totals(raw) == {"acknowledged": 1, "retried": 1}


def test_a_rollback_that_was_asked_for_forgets_the_message() -> None:
    """Nothing is committed, and so neither is its row: it is acknowledged, and would run again."""

    @handler("orders", group="billing", once=True)
    def take_back(message: Message) -> None:
        add(message)
        transaction.set_rollback(True)

    assert run("a") == [HANDLED]
    assert run("a") == [HANDLED]
    assert (effects(), remembered()) == ([], 0)


def test_each_group_of_each_stream_has_the_effect(raw: Raw) -> None:
    """The same id in another group, or in another stream's group of the same name, is another message."""
    for stream, group in (("orders", "billing"), ("orders", "loyalty"), ("mails", "billing")):
        handler(stream, group=group, once=True)(add)
    publish("orders", "a")
    ((_, fields),) = raw.xrange("orders")
    raw.xadd("mails", fields)
    assert (drain().acknowledged, effects(), remembered()) == (3, ["a", "a", "a"], 3)


@pytest.mark.parametrize("text", ["A", "a ", "a\0", "ä" * 1_000 + "a", "\udcff", "a" * 100_000, ""])
def test_an_id_may_hold_anything(text: str) -> None:
    """Other clients may choose keys and ids: it is the same message if it is the same text, and only then."""

    def is_first(text: str) -> bool:
        with transaction.atomic():
            return bool(rows.insert([of_id(text)], "default"))

    others = ["a", "ä" * 1_000 + "b", "\udcfe", "a" * 99_999]
    assert [is_first(each) for each in (*others, text, text)] == [True] * 5 + [False]


def test_ids_of_a_batch_may_hold_anything() -> None:
    """Each row is that of its message, and what no column takes is replaced."""
    texts = ["a,b", "a\nb", "a'b\\", "\udcff", "ä" * 1_000, "a\0b", "%s"]
    with transaction.atomic():
        assert len(rows.insert([of_id(each) for each in texts], "default")) == len(texts)
    known = InboxMessage.objects.in_bulk([rows.key_of(of_id(each)) for each in texts])
    found = {each.pk.hex: each.message_id.replace("\n", "\ufffd") for each in known.values()}
    assert [found[rows.key_of(of_id(each))] for each in texts] == [
        "a,b", "a\ufffdb", "a'b\\", "?", "ä" * 255, "a\ufffdb", "%s",
    ]  # fmt: skip


@pytest.mark.parametrize("own", [True, False])
def test_the_database_takes_every_key(own: bool) -> None:
    """MariaDB's type for a UUID doesn't take all of 32 digits, and an INSERT IGNORE wouldn't say so."""
    ids = [f"0198c5a0-{number:04x}-7000-8000-000000000000" if own else str(number) for number in range(2_000)]
    with transaction.atomic():
        assert len(rows.insert([of_id(each) for each in ids], "default")) == len(ids)
    assert remembered() == len(ids)


def test_keys_of_own_ids_are_in_the_order_of_their_time() -> None:
    """So that new rows stand side by side in the index."""
    early, late = "0198c5a0-0000-7fff-bfff-ffffffffffff", "0198c5a0-0001-7000-8000-000000000000"
    assert rows.key_of(of_id(early)) < rows.key_of(of_id(late))
    assert rows.key_of(of_id(early)) != rows.key_of(of_id(early, group="loyalty"))


# ---------------------------------------------------------------- two at once


@pytest.mark.parametrize("ends_well", [True, False])
def test_a_second_run_waits_for_the_first(ends_well: bool) -> None:
    """When the first has committed it is acknowledged unrun; when it was rolled back it runs."""
    begun, end = threading.Event(), threading.Event()
    runs: list[int] = []
    outcomes: list[Outcome] = []

    @handler("orders", group="billing", once=True)
    def work(message: Message) -> None:
        runs.append(1)
        add(message)
        if len(runs) == 1:
            begun.set()
            assert end.wait(10)
            if not ends_well:
                raise LookupError

    first = in_thread(lambda: run("a"))
    assert begun.wait(10)
    second = in_thread(lambda: outcomes.extend(run("a")))
    second.join(0.1)
    assert second.is_alive()
    assert len(runs) == 1
    end.set()
    first.join(10)
    second.join(10)
    assert outcomes == [REPEATED if ends_well else HANDLED]
    assert effects() == ["a"]


@pytest.mark.parametrize("ends_well", [True, False])
def test_a_batch_waits_for_a_message_that_runs_elsewhere(ends_well: bool) -> None:
    """It leaves out what was committed meanwhile, and runs what was rolled back."""
    begun, end, calls = threading.Event(), threading.Event(), []
    outcomes: list[Outcome] = []

    @handler("orders", group="billing", once=True, batch=True)
    def work(messages: list[Message]) -> None:
        calls.append(sorted(each.payload for each in messages))
        add_each(messages)

    def elsewhere() -> None:
        with transaction.atomic():
            assert inbox.claim(message("b"))
            add(message("b"))
            begun.set()
            assert end.wait(10)
            transaction.set_rollback(not ends_well)

    first = in_thread(elsewhere)
    assert begun.wait(10)
    second = in_thread(lambda: outcomes.extend(run("a", "b", "c")))
    second.join(0.1)
    assert second.is_alive()
    end.set()
    first.join(10)
    second.join(10)
    assert outcomes == ([HANDLED, REPEATED, HANDLED] if ends_well else [HANDLED] * 3)
    assert calls == ([["a", "c"]] if ends_well else [["a", "b", "c"]])
    assert effects() == ["a", "b", "c"]


# ---------------------------------------------------------------- batches


@pytest.fixture
def calls() -> list[list[str]]:
    """The ids of each call of a batch handler with `once`."""
    made: list[list[str]] = []

    @handler("orders", group="billing", once=True, batch=True)
    def work(messages: list[Message]) -> None:
        made.append([each.payload for each in messages])
        add_each(messages)

    return made


def test_a_batch_is_run_for_what_is_new(calls: list[list[str]]) -> None:
    """What is known is left out; if nothing is left, the function isn't called."""
    assert run("a", "b") == [HANDLED, HANDLED]
    assert run("b", "c", "a", "d") == [REPEATED, HANDLED, REPEATED, HANDLED]
    assert run("a", "d") == [REPEATED, REPEATED]
    assert calls == [["a", "b"], ["c", "d"]]


def test_workers_with_the_same_batches_do_not_deadlock() -> None:
    """Batches overlap, in any order: no run fails, none waits for ever, and each effect is there once."""
    ids = [new_id() for _ in range(600)]
    begin, errors = threading.Barrier(4), []

    def work(seed: int) -> None:
        order = random.Random(seed)
        try:
            begin.wait(10)
            for start in range(0, 600, 20):
                batch = order.sample(ids[start : start + 100], k=min(80, 600 - start))
                with transaction.atomic():
                    add_each(
                        rows.insert(
                            [Message(id=each, stream="orders", group="billing", payload=each) for each in batch],
                            "default",
                        )
                    )
        except Exception as error:  # noqa: BLE001  shown below
            errors.append(error)

    threads = [in_thread(lambda seed=seed: work(seed)) for seed in range(4)]
    for each in threads:
        each.join(30)
    assert errors == []
    assert len(effects()) == len(set(effects())) == remembered()


def test_a_message_that_is_in_a_batch_twice_is_run_once(calls: list[list[str]]) -> None:
    """The first of them is."""
    assert run("a", "b", "a", "a") == [HANDLED, HANDLED, REPEATED, REPEATED]
    assert calls == [["a", "b"]]


def test_a_batch_costs_one_insert() -> None:
    """However many it holds, where none is known."""
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        rows.insert([message(str(n)) for n in range(200)], "default")
    assert sum("INSERT" in each["sql"] for each in queries.captured_queries) == 1
    assert remembered() == 200


def test_a_known_row_undoes_nothing_else(calls: list[list[str]]) -> None:
    """What the transaction did before stays, and no INSERT leaves a savepoint behind."""
    assert run("a") == [HANDLED]
    with transaction.atomic():
        Effect.objects.create(name="before")
        some = [message(each) for each in ("a", "b", "c")]
        assert rows.insert(some, "default") == some[1:]
        assert rows.insert(some, "default") == []
        assert len(rows.insert([message("d"), message("e")], "default")) == 2
        if connection.vendor == "postgresql":
            with pytest.raises(DatabaseError, match="does not exist"), transaction.atomic():
                connection.cursor().execute(f"RELEASE SAVEPOINT {inserting._SAVEPOINT}")
    assert effects() == ["a", "before"]
    assert remembered() == 5


def test_a_connection_that_takes_one_statement_at_a_time(
    calls: list[list[str]], database: str, use_database: Callable[..., None]
) -> None:
    """PostgreSQL's with `server_side_binding`."""
    if database != "postgresql":
        pytest.skip("an option of PostgreSQL")
    use_database(**{**connection.settings_dict, "OPTIONS": {"server_side_binding": True}})
    assert run("a", "b") == [HANDLED, HANDLED]
    assert run("b", "c") == [REPEATED, HANDLED]
    assert calls == [["a", "b"], ["c"]]


@pytest.mark.parametrize("known", [0, 1, 2_500])
def test_a_batch_may_be_large(calls: list[list[str]], known: int) -> None:
    """Larger than what a database takes in one statement."""
    ids = [f"message {n}" for n in range(2_500)]
    run(*ids[:known])
    calls.clear()
    outcomes = [each for begin in range(0, 2_500, 100) for each in run(*ids[begin : begin + 100])]
    assert outcomes == [REPEATED] * known + [HANDLED] * (2_500 - known)
    with transaction.atomic():
        assert rows.insert([message(each) for each in ids], "default") == []
        assert len(rows.insert([message(f"{each}!") for each in ids], "default")) == 2_500


def test_what_comes_between_the_look_and_the_insert_is_left_out(
    calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then each row is inserted by itself, and each tells whether it was there."""
    assert run("a", "b") == [HANDLED, HANDLED]
    monkeypatch.setattr(inserting, "_known", lambda *_: [rows.key_of(message("a"))])
    assert run("a", "b", "c") == [REPEATED, REPEATED, HANDLED]
    assert calls == [["a", "b"], ["c"]]


def test_a_batch_that_fails_is_run_one_by_one(raw: Raw) -> None:
    """Each message in a transaction of its own: the rows of the others stay, that of the guilty one doesn't."""

    @handler("orders", group="billing", once=True, batch=True, max_retries=0)
    def work(messages: list[Message]) -> None:
        add_each(messages)
        if any(each.payload == "bad" for each in messages):
            raise LookupError

    publish_many("orders", ["a", "bad", "b"])
    again(raw)
    drain("orders:billing")
    assert effects() == ["a", "b"]
    assert totals(raw) == {"acknowledged": 2, "repeated": 2, "dead-lettered": 2}
    assert missing() in {0, None}


# ---------------------------------------------------------------- databases


def test_a_database_that_can_only_refuse_what_is_there(calls: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle knows no ON CONFLICT."""
    monkeypatch.setattr(type(connection.features), "supports_ignore_conflicts", False)
    assert run("a") == [HANDLED]
    assert run("a", "b", "a") == [REPEATED, HANDLED, REPEATED]
    assert run("b") == [REPEATED]
    assert calls == [["a"], ["b"]]
    assert effects() == ["a", "b"]


def test_another_database(second: Any) -> None:
    """The row is where the effect is."""
    with second.schema_editor() as editor:
        editor.create_model(InboxMessage)
    handler("orders", group="billing", once="second")(lambda _: None)
    assert run("a") == [HANDLED]
    assert run("a") == [REPEATED]
    assert InboxMessage.objects.using("second").count() == 1
    assert remembered() == 0


@pytest.mark.parametrize("batch", [False, True])
def test_messages_wait_for_a_missing_table(
    raw: Raw, streams: Any, caplog: pytest.LogCaptureFixture, batch: bool
) -> None:
    """The runs use up no retry, here not even one is allowed, and the log says what to do."""
    streams({"orders": {"GROUPS": {"billing": {**BILLING, "MAX_RETRIES": 0}}}})
    with connection.schema_editor() as editor:
        editor.delete_model(InboxMessage)
    handler("orders", group="billing", once=True, batch=batch)(add_each if batch else add)
    publish_many("orders", ["a", "b"])
    with workers.working():
        wait_until(lambda: totals(raw).get("retried", 0) >= 2)
    assert "manage.py migrate django_redis_streams_inbox --database=default" in caplog.text
    assert effects() == []
    with connection.schema_editor() as editor:
        editor.create_model(InboxMessage)
    with workers.working():
        wait_until(lambda: totals(raw).get("acknowledged") == 2)
    assert letters(raw) == []
    assert effects() == ["a", "b"]


@pytest.mark.parametrize("batch", [False, True])
def test_drain_raises_what_says_that_the_table_is_missing(batch: bool) -> None:
    """In a test nobody makes it in the meantime."""
    with connection.schema_editor() as editor:
        editor.delete_model(InboxMessage)
    handler("orders", group="billing", once=True, batch=batch)(add_each if batch else add)
    publish_many("orders", ["a", "b"])
    with pytest.raises(ConfigurationError, match=r"migrate django_redis_streams_inbox --database=default"):
        drain("orders:billing", hasten=True)


def test_no_signal_tells_of_a_run_that_was_none(raw: Raw) -> None:
    """`message_processed` is about runs."""
    told: list[str] = []

    def receive(message: Message, **_: Any) -> None:
        told.append(message.payload)

    handler("orders", group="billing", once=True)(add)
    signals.message_processed.connect(receive)
    publish("orders", "a")
    again(raw)
    try:
        assert drain("orders:billing").repeated == 1
    finally:
        signals.message_processed.disconnect(receive)
    assert told == ["a"]


# ---------------------------------------------------------------- by hand


def test_claim_tells_the_first_from_the_others() -> None:
    """It is committed or rolled back with the transaction."""
    with transaction.atomic():
        assert inbox.claim(message())
        transaction.set_rollback(True)
    with transaction.atomic():
        assert inbox.claim(message())
        assert not inbox.claim(message())
    with transaction.atomic():
        assert not inbox.claim(message())
        assert inbox.claim(message(group="loyalty"))


def test_claim_by_a_coroutine(raw: Raw) -> None:
    """The work and the claim are in a function that it calls."""

    def work(message: Message) -> None:
        with transaction.atomic():
            if inbox.claim(message):
                add(message)

    @handler("orders", group="billing")
    async def fetch(message: Message) -> None:
        await sync_to_async(work)(message)

    for _ in range(2):
        async_to_sync(fetch)(message("a"))
    assert effects() == ["a"]


def test_claim_says_what_keeps_it_from_working(settings: Any) -> None:
    """No transaction, no group, no app."""
    with pytest.raises(TransactionManagementError, match=r"transaction\.atomic\(using='default'\)"):
        inbox.claim(message())
    with transaction.atomic(), pytest.raises(ValueError, match="a message that a handler got"):
        inbox.claim(message(group=""))
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if each != "django_redis_streams.inbox"]
    with transaction.atomic(), pytest.raises(ConfigurationError, match=r"add 'django_redis_streams\.inbox'"):
        inbox.claim(message())


# ---------------------------------------------------------------- what can't work


def test_once_implies_a_transaction_of_its_database() -> None:
    """An alias names the database; `atomic` of the same one says nothing new."""
    handler("orders", group="billing", type="a", once=True)(add)
    handler("orders", group="billing", type="b", once="other", atomic="other")(add)
    first, second = handlers.registered()
    assert [(each.once, each.atomic) for each in (first, second)] == [(True, "default"), (True, "other")]


def test_what_once_does_not_go_with() -> None:
    """Each is refused when the handler is declared."""

    async def fetch(message: Message) -> None:
        pass

    with pytest.raises(HandlerError, match=r"Expected once='default', or once='other' alone"):
        handler("orders", group="billing", atomic=True, once="other")
    with pytest.raises(HandlerError, match=r"Expected once='other', or once=True alone"):
        handler("orders", group="billing", atomic="other", once=True)
    with pytest.raises(HandlerError, match=r"@handler\(once=True\).*call inbox\.claim\(\) first"):
        handler("orders", group="billing", once=True)(fetch)
    with pytest.raises(HandlerError, match=r"once=3\): expected True, False or the alias"):
        handler("orders", group="billing", once=3)  # type: ignore[arg-type]


def test_no_consumer_serves_a_handler_with_once_without_the_app(settings: Any) -> None:
    """Its messages wait, instead of failing one by one."""
    handler("orders", group="billing", once=True)(add)
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if each != "django_redis_streams.inbox"]
    with pytest.raises(HandlerError, match=r"has once=True.*add 'django_redis_streams\.inbox' to INSTALLED_APPS"):
        handlers.of("orders", "billing")


# ---------------------------------------------------------------- what is forgotten


def upkeep() -> InboxUpkeep:
    """That of a worker that serves billing."""
    return InboxUpkeep([Membership(STREAM, GROUP, "tested")], threading.Event(), DEFAULT_TIMING)


def remember(count: int, seconds: int, **place: str) -> None:
    """Insert so many rows, which are so many seconds old."""
    made = [message(f"{seconds} {n}", **place) for n in range(count)]
    with transaction.atomic():
        keys = [rows.key_of(each) for each in rows.insert(made, "default")]
    age = Now() - timedelta(seconds=seconds)
    for begin in range(0, count, 500):
        InboxMessage.objects.filter(pk__in=sorted(keys)[begin : begin + 500]).update(created_at=age)


def test_old_rows_are_deleted(caplog: pytest.LogCaptureFixture) -> None:
    """Those of its groups that are older than INBOX_RETENTION, a thousand at a time."""
    handler("orders", group="billing", once=True)(add)
    remember(1_500, 3_660)
    remember(2, 3_540)
    remember(2, 9_999, group="loyalty")
    remember(2, 9_999, stream="mails")
    with CaptureQueriesContext(connection) as queries, caplog.at_level("INFO"):
        upkeep().step()
    assert remembered() == 6
    assert sum(each["sql"].startswith("DELETE") for each in queries.captured_queries) == 2
    assert "deleted 1500 rows of the inbox" in caplog.text


def test_rows_of_a_group_of_nearly_that_name_stay() -> None:
    """It has an INBOX_RETENTION of its own. MariaDB holds such names to be equal."""
    handler("orders", group="billing", once=True)(add)
    remember(1, 3_660)
    remember(1, 3_661, group="Billing")
    remember(1, 3_662, stream="Orders")
    upkeep().step()
    assert remembered() == 2
    assert {(each.stream, each.group) for each in InboxMessage.objects.all()} == {
        ("orders", "Billing"),
        ("Orders", "billing"),
    }


def test_rows_that_were_claimed_by_hand_are_deleted_too() -> None:
    """No handler of the group has `once`, but this process has claimed."""
    handler("orders", group="billing")(add)
    remember(1, 3_660)
    inbox.running.CLAIMED.clear()
    upkeep().step()
    assert remembered() == 1
    with transaction.atomic():
        inbox.claim(message("new"))
    upkeep().step()
    assert list(InboxMessage.objects.values_list("message_id", flat=True)) == [identity("new")]


@pytest.mark.usefixtures("second")
def test_a_database_that_fails_keeps_no_others_rows(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and tried again."""
    handler("orders", group="billing", type="a", once=True)(add)
    handler("orders", group="billing", type="b", once="second")(add)
    remember(1, 3_660)
    upkeep().step()
    assert remembered() == 0
    assert "old rows of the inbox in the database 'second' can't be deleted" in caplog.text


def test_without_autocommit_no_row_is_said_to_be_deleted(caplog: pytest.LogCaptureFixture) -> None:
    """Django would commit nothing. It is logged, with what to change."""
    handler("orders", group="billing", once=True)(add)
    remember(1, 3_660)
    connection.set_autocommit(False)
    try:
        with caplog.at_level("INFO"):
            upkeep().step()
    finally:
        connection.rollback()
        connection.set_autocommit(True)
    assert remembered() == 1
    (record,) = (each for each in caplog.records if "inbox" in each.message)
    assert "can't be deleted" in record.message
    assert "Turn it on by set_autocommit(True)" in record.message


def test_rows_that_another_worker_deletes_are_left_to_it(database: str) -> None:
    """Neither waits for the other."""
    if database == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    handler("orders", group="billing", once=True)(add)
    remember(3, 3_660)
    with transaction.atomic():
        # By its key: MariaDB locks all rows that it sorts.
        InboxMessage.objects.select_for_update().get(pk=InboxMessage.objects.values("pk")[:1].get()["pk"])
        cleaner = in_thread(upkeep().step)
        cleaner.join(10)
        assert not cleaner.is_alive()
    assert remembered() == 1
