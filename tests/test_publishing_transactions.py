"""Publishing in a transaction: with its commit or not at all, and what is said where the commit was in vain."""

import asyncio
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, connections, transaction

from django_redis_streams import apublish, apublish_many, publish, publish_many, signals
from django_redis_streams.exceptions import ConfigurationError, InvalidMessage, TransactionError, UnknownStream
from django_redis_streams.publishing import sending, transactions

from .catalogue.models import Book
from .support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def published(streams, server):
    """The payloads on the stream "orders"."""
    return lambda: [json.loads(fields["data"]) for _, fields in server.raw().xrange("orders")]


class Undo(Exception):
    """Rolls a transaction back."""


@contextmanager
def rolled_back(using="default"):
    """A transaction, or a savepoint within one, that comes to nothing."""
    with suppress(Undo), transaction.atomic(using=using):
        yield
        raise Undo


def test_commit_publishes(published):
    """Nothing is on the stream before the transaction commits, everything in order afterwards."""
    with transaction.atomic():
        publish("orders", 1)
        publish_many("orders", [2, 3])
        with transaction.atomic():
            publish("orders", 4)
        assert published() == []
    assert published() == [1, 2, 3, 4]


def test_rollback_publishes_nothing(published):
    """What never happened is never told."""
    with rolled_back():
        publish("orders", 1)
        publish_many("orders", [2, 3])
    assert published() == []


def test_savepoint_that_is_rolled_back_publishes_nothing(published):
    """Only what was published within it is dropped."""
    with transaction.atomic():
        publish("orders", 1)
        with rolled_back():
            publish("orders", 2)
        publish("orders", 3)
    assert published() == [1, 3]


def test_what_is_sent_is_what_was_published(published):
    """The payload is encoded at the call: its owner may go on using it."""
    payload = {"total": 1}
    with transaction.atomic():
        publish("orders", payload)
        payload["total"] = 2
        publish("orders", payload)
        payload.clear()
    assert published() == [{"total": 1}, {"total": 2}]


def test_transaction_is_that_of_the_database_named(published, other):
    """`using` says whose commit is waited for."""
    with transaction.atomic():
        publish("orders", "other, now", using="other")
        assert published() == ["other, now"]
        with rolled_back(using="other"):
            publish("orders", "default, later")
            publish("orders", "other, never", using="other")
    assert published() == ["other, now", "default, later"]


@pytest.mark.parametrize(
    ("given", "error"), [({"stream": "ordres"}, UnknownStream), ({"payload": object()}, InvalidMessage)]
)
def test_bad_message_is_an_error_of_the_call(published, given, error):
    """It is raised where it was made, not after the commit."""
    with transaction.atomic(), pytest.raises(error):
        publish(**{"stream": "orders", "payload": 1, **given})
    assert published() == []


def test_bad_connection_is_an_error_of_the_call(streams):
    """So is an option that redis-py doesn't know: after the commit it would be too late."""
    streams(OPTIONS={"no_such_option": 1})
    with transaction.atomic(), pytest.raises(ConfigurationError, match="no_such_option"):
        publish("orders", 1)


def test_failure_after_the_commit_is_logged(streams, caplog):
    """The transaction stands, so nothing is raised; the line has stream and id, for whoever mends it."""
    streams(URL="unix:///nowhere/server.sock")
    with transaction.atomic():
        message = publish("orders", 1)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("django_redis_streams", logging.ERROR)
    assert (record.stream, record.message_id) == ("orders", message.id)
    assert message.id in record.message
    assert "unix:///nowhere/server.sock" in record.message


def test_failure_after_the_commit_is_told(streams, failed):
    """`publish_failed` has the message with what would have been sent, so it can be kept elsewhere."""
    streams(URL="unix:///nowhere/server.sock")
    payload = {"total": 1}
    with transaction.atomic():
        message = publish("orders", payload, type="order.paid", key="k", headers={"a": 1})
        payload.clear()
    (told,) = failed
    lost = told["message"]
    assert (lost.id, lost.payload, lost.type, lost.key, lost.headers) == (
        message.id, {"total": 1}, "order.paid", "k", {"a": 1},
    )  # fmt: skip
    assert lost.time == message.time
    assert "nowhere" in str(told["error"])


def test_refusal_after_the_commit_is_told_message_by_message(streams, server, failed, caplog):
    """Each message that isn't on the stream has its own line and signal."""
    server.raw().set("orders", "taken")
    with transaction.atomic():
        publish_many("orders", [1, 2, 3])
    assert [told["message"].payload for told in failed] == [1, 2, 3]
    assert [record.message_id for record in caplog.records] == [told["message"].id for told in failed]


def test_settings_that_broke_before_the_commit_are_told(streams, failed, caplog):
    """Whatever it is that fails: there is nobody left to raise it to."""
    with transaction.atomic():
        message = publish("orders", 1)
        streams(OPTIONS={"no_such_option": 1})
    assert [told["message"].id for told in failed] == [message.id]
    assert [record.message_id for record in caplog.records] == [message.id]


def test_what_django_runs_after_the_failed_message_still_runs(streams):
    """Other callbacks of the commit aren't harmed."""
    streams(URL="unix:///nowhere/server.sock")
    ran = []
    with transaction.atomic():
        publish("orders", 1)
        transaction.on_commit(lambda: ran.append(1))
    assert ran == [1]


class Foreign(Exception):
    """What somebody else's callback raises."""


def raises(error=Foreign):
    """A callback of somebody else that fails."""

    def callback():
        raise error

    return callback


@contextmanager
def committed_raising(error=Foreign, **options):
    """A transaction that commits, and whose block raises nevertheless, as a callback of its commit did."""
    with pytest.raises(error) as raised, transaction.atomic(**options):
        yield raised


@pytest.mark.parametrize("error", [Foreign, SystemExit, KeyboardInterrupt])
def test_foreign_callback_that_raises_does_not_keep_a_message_from_being_sent(published, error):
    """Django runs no callback after one that raises: what is committed is published nevertheless, once, in order."""
    with committed_raising(error):
        publish("orders", 1)
        transaction.on_commit(raises(error))
        publish("orders", 2)
        publish_many("orders", [3, 4])
        transaction.on_commit(raises(ZeroDivisionError))
        publish("orders", 5)
    assert published() == [1, 2, 3, 4, 5]
    with transaction.atomic():
        publish("orders", 6)
    assert published() == [1, 2, 3, 4, 5, 6]


def test_foreign_callbacks_run_as_without_us(streams):
    """In the order of their registration, none after one that raises, and its error is the block's."""
    ran = []
    with committed_raising() as raised:
        transaction.on_commit(lambda: ran.append("before"))
        publish("orders", 1)
        transaction.on_commit(raises(ZeroDivisionError), robust=True)
        transaction.on_commit(lambda: ran.append("between"))
        transaction.on_commit(raises())
        publish("orders", 2)
        transaction.on_commit(lambda: ran.append("never"))
    assert ran == ["before", "between"]
    assert raised.value.__context__ is None


def test_foreign_callback_sees_what_was_published_before_it(published):
    """A message takes its turn among the callbacks: it is there for those after it, and not for those before."""
    seen = []
    with transaction.atomic():
        transaction.on_commit(lambda: seen.append(published()))
        publish("orders", 1)
        transaction.on_commit(lambda: seen.append(published()))
        publish("orders", 2)
    assert seen == [[], [1]]


def test_foreign_callback_that_raises_publishes_nothing_that_was_rolled_back(published):
    """Neither of a savepoint, nor of a transaction before or after."""
    with committed_raising():
        transaction.on_commit(raises())
        publish("orders", 1)
        with rolled_back():
            publish("orders", "never")
            with transaction.atomic():
                publish("orders", "never")
        with transaction.atomic():
            publish("orders", 2)
    with rolled_back():
        transaction.on_commit(raises())
        publish("orders", "never")
    with transaction.atomic():
        pass
    assert published() == [1, 2]


def test_savepoint_does_not_end_the_guard(published):
    """Rolled back after the last message, it takes nothing from what was published before it."""
    with committed_raising():
        transaction.on_commit(raises())
        publish("orders", 1)
        with rolled_back():
            transaction.on_commit(raises())
    assert published() == [1]


def test_commit_that_fails_publishes_nothing(published):
    """A constraint that is checked at the commit: nothing has happened, so nothing is told, then or later."""

    def save():
        transaction.on_commit(raises())
        publish("orders", "never")
        Book.objects.create(title="Emma", author_id=7)

    with pytest.raises(IntegrityError):
        transaction.atomic(save)()
    with transaction.atomic():
        publish("orders", 1)
    assert published() == [1]


def test_callbacks_publish_too(published):
    """Within a callback there is no transaction, or a new one, whose own callbacks may raise."""

    def callback():
        publish("orders", "now")
        with suppress(Foreign), transaction.atomic():
            transaction.on_commit(raises())
            publish("orders", "on its commit")
        raise Foreign

    with committed_raising(durable=True):
        transaction.on_commit(callback)
        publish("orders", "at last")
    assert published() == ["now", "on its commit", "at last"]


def test_a_transaction_of_another_database_is_warned_of_once(published, other, caplog, monkeypatch):
    """The message goes out at once, which is easily overlooked."""
    monkeypatch.setattr(transactions, "_warned", set())
    with transaction.atomic(using="other"):
        publish("orders", "now")
        publish_many("orders", ["now, too"])
        assert published() == ["now", "now, too"]
        publish("orders", "later", using="other")
    assert published() == ["now", "now, too", "later"]
    (warning,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "within a transaction of database 'other', because 'default'" in warning
    assert "Publish with using='other'" in warning


def test_commit_of_another_database_has_its_own_callbacks(published, other):
    """What one's callbacks raise neither sends nor drops what waits for the other's commit."""
    with rolled_back():
        publish("orders", "never")
        with committed_raising(using="other"):
            transaction.on_commit(raises(), using="other")
            publish("orders", 1, using="other")
        assert published() == [1]
    assert published() == [1]


def test_threads_have_their_own_callbacks(published):
    """Each thread has its connection, and what it publishes is sent from there."""

    def work(number):
        try:
            with committed_raising():
                transaction.on_commit(raises())
                publish("orders", number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(20)))
    assert sorted(published()) == list(range(20))


def test_failure_is_told_where_a_foreign_callback_raised_too(streams, failed, caplog):
    """What can't be sent then is logged and told of as ever, and the foreign error goes on."""
    streams(URL="unix:///nowhere/server.sock")
    with committed_raising():
        transaction.on_commit(raises())
        message = publish("orders", 1)
    assert [told["message"].id for told in failed] == [message.id]
    assert [record.message_id for record in caplog.records] == [message.id]


def test_interrupt_while_sending_is_told(published, failed, caplog, monkeypatch):
    """Nobody knows whether that message arrived, so it is told of; the others are still sent."""

    def interrupt(*_):
        monkeypatch.undo()
        raise KeyboardInterrupt

    with committed_raising(KeyboardInterrupt):
        message = publish("orders", 1)
        publish("orders", 2)
        monkeypatch.setattr(sending, "append", interrupt)
    assert published() == [2]
    assert [told["message"].id for told in failed] == [message.id]
    assert [record.message_id for record in caplog.records] == [message.id]


def test_connection_that_was_closed_is_guarded_again(published):
    """A new connection to the database, as each request may have one, is no gap."""
    for number in range(3):
        with committed_raising():
            transaction.on_commit(raises())
            publish("orders", number)
        connections["default"].close()
    assert published() == [0, 1, 2]


def test_captured_callbacks_are_sent_once(published, django_capture_on_commit_callbacks):
    """In a test whose transaction stays open, by whoever calls them, and however often."""
    with transaction.atomic():
        with django_capture_on_commit_callbacks(execute=True) as outer:
            publish("orders", 1)
            with django_capture_on_commit_callbacks(execute=True) as inner:
                publish("orders", 2)
            assert published() == [2]
        assert (len(outer), len(inner)) == (2, 1)
        outer[0]()
        assert published() == [2, 1]
        transaction.set_rollback(True)
    assert published() == [2, 1]


def test_server_that_is_away_isnt_tried_for_each_message(streams, caplog):
    """A thousand messages of one commit don't wait a thousand times; each is logged nevertheless."""
    streams(URL="unix:///nowhere/server.sock")
    since = time.monotonic()
    with transaction.atomic():
        for number in range(1000):
            publish("orders", number)
    assert time.monotonic() - since < 10
    assert len({record.message_id for record in caplog.records}) == 1000


def test_server_that_is_back_is_tried_again(streams, make_server):
    """The next commits find it, without anybody's doing."""
    server = make_server()
    streams(URL=server.url)
    server.end()
    with transaction.atomic():
        publish("orders", "lost")
    server.start()

    def arrived():
        with transaction.atomic():
            publish("orders", "found")
        return server.raw().xlen("orders")

    wait_until(arrived)


def test_receiver_may_use_the_database_after_the_commit(streams):
    """The signal is sent when the transaction is over: an outbox can be written there."""
    streams(URL="unix:///nowhere/server.sock")
    found = []

    def receive(*, message, **_):
        with transaction.atomic():
            found.append(message.payload)

    signals.publish_failed.connect(receive)
    try:
        with transaction.atomic():
            publish("orders", 1)
    finally:
        signals.publish_failed.disconnect(receive)
    assert found == [1]


@pytest.mark.parametrize("atomic", [False, True])
def test_transaction_that_django_does_not_manage_is_refused(published, atomic):
    """With autocommit off Django never tells of a commit: now could be too early, on commit would be never."""
    database = connections["default"]
    database.set_autocommit(False)
    try:
        with transaction.atomic() if atomic else nullcontext():
            for call in (lambda: publish("orders", 1), lambda: publish_many("orders", [1])):
                with pytest.raises(TransactionError, match="Autocommit of database 'default' is off"):
                    call()
        database.commit()
    finally:
        database.rollback()
        database.set_autocommit(True)
    assert published() == []


def test_coroutine_publishes_in_the_transaction_it_is_in(published):
    """`apublish` and `apublish_many` go to the thread of the coroutine's transaction: a rollback drops it there too."""

    async def coroutine():
        outer = transaction.atomic()
        await sync_to_async(outer.__enter__)()
        message = await apublish("orders", 1)
        assert await apublish_many("orders", range(2, 4)) == 2
        before = await sync_to_async(published)()
        await sync_to_async(outer.__exit__)(None, None, None)
        undone = transaction.atomic()
        await sync_to_async(undone.__enter__)()
        await apublish("orders", 4)
        await apublish_many("orders", range(5, 7))
        await sync_to_async(undone.__exit__)(Undo, Undo(), None)
        await sync_to_async(connections.close_all)()
        return message, before

    message, before = asyncio.run(coroutine())
    assert before == []
    assert published() == [1, 2, 3]
    assert message.payload == 1
