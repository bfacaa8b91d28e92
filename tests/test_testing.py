"""What projects test with: a server for each test, what was published, and handlers run in the test's thread."""

import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings

from django_redis_streams import Reject, Retry, conf, connections, handler, handlers, publish, publish_many
from django_redis_streams.exceptions import (
    ConfigurationError,
    ServerRefused,
    ServerUnreachable,
    StreamsError,
    UnknownStream,
)
from django_redis_streams.testing import StreamsMixin, assert_published, drain, isolated, make_message, published
from testproject.shop.models import Customer

pytestmark = pytest.mark.usefixtures("isolated_handlers")
SERVERS = ["fake", "embedded", "configured"]


@pytest.fixture
def fake() -> Iterator[None]:
    """A fake server for this test."""
    with isolated("fake"):
        yield


def books(group: str = "billing") -> dict[str, str]:
    """The totals of a group, and how many dead letters and pending messages there are."""
    keys, link = conf.stream("orders").keys, connections.get()
    flat = link.call("HGETALL", keys.totals(group))
    found = dict(zip(flat[::2], flat[1::2], strict=True))
    found["in the queue"] = link.call("XLEN", keys.dlq)
    found["pending"] = link.call("XPENDING", keys.main, group)[0]
    found["slots"] = link.call("ZCARD", keys.slots(group))
    return found


def dead_letters() -> list[dict[str, str]]:
    """The fields of the dead letters that are the same wherever they were made."""
    entries = connections.get().call("XRANGE", conf.stream("orders").keys.dlq, "-", "+")
    every = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]
    return [{name: each[name] for name in ("data", "type") if name in each} for each in every]


def declare(runs: list[Any]) -> None:
    """Handlers that succeed, fail for some time, fail for ever, reject, and ask for another try."""

    @handler("orders", group="billing", max_retries=2, backoff=(3600, 3600))
    def charge(message: Any) -> None:
        runs.append(("charge", message.payload["n"], message.attempt, message.lane))
        match message.payload["n"]:
            case 1 if message.attempt < 3:
                raise ValueError("not yet")
            case 2:
                raise LookupError("never")
            case 3:
                raise Reject("no")
            case 4 if runs.count(runs[-1]) == 1:
                raise Retry(delay=3600, count=False)

    @handler("orders", group="loyalty", batch=True, backoff=(3600, 3600))
    def add_up(messages: Any) -> None:
        runs.append(("add up", sorted(each.payload["n"] for each in messages)))
        if any(each.payload["n"] == 4 for each in messages):
            raise OSError("4 is in it")

    @handler("orders", group="analytics", type="order.*")
    async def count(message: Any) -> None:
        runs.append(("count", message.payload["n"]))


# No retry comes due while a test drains.
LATE = {"BACKOFF": (600, 600)}
GROUPS = {"billing": LATE, "loyalty": LATE, "analytics": {"UNMATCHED": "skip", **LATE}}
STREAMS = {
    "plain": {"GROUPS": GROUPS},
    "with lanes": {"LANES": ["high", "default"], "GROUPS": GROUPS},
    "limited": {
        "GROUPS": {"billing": {"GROUP_CONCURRENCY": 2, "RATE": "1000/s", **LATE}, "loyalty": LATE, "analytics": LATE},
    },
}


@pytest.mark.parametrize("declared", STREAMS)
def test_a_fake_server_does_what_real_ones_do(streams: Any, declared: str) -> None:
    """Reading, settling, retries, dead letters, lanes and limits: the same outcomes, runs and books on each."""
    streams({"orders": STREAMS[declared]})
    seen = []
    for server in SERVERS:
        runs: list[Any] = []
        with isolated(server), handlers.isolated():
            declare(runs)
            for n in range(8):
                lane = {"lane": "high"} if n % 2 and declared == "with lanes" else {}
                publish("orders", {"n": n}, type="order.new" if n else "other", **lane)
            first = drain()
            rest = drain(hasten=True)
            counts = [[each.acknowledged, each.skipped, each.retried, each.dead_lettered] for each in (first, rest)]
            errors = [sorted(map(repr, each.errors)) for each in (first, rest)]
            totals = [books(group) for group in ("billing", "loyalty", "analytics")]
            seen.append((counts, errors, totals, sorted(map(str, runs)), sorted(map(str, dead_letters()))))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][2][0]["dead-lettered"] == "2"


def test_no_test_finds_what_another_has_published(streams: Any, raw: Any) -> None:
    """Each isolation is empty in the beginning, also on the configured server, which is left as it was."""
    raw.set("of somebody else", "1")
    for server in SERVERS:
        for _ in range(2):
            with isolated(server):
                publish("orders", {"n": 1})
                assert len(published()) == 1
                link = connections.get()
                assert link.call("DBSIZE") == 1 + (server == "configured")
    assert raw.keys() == ["of somebody else"]


def test_a_prefix_is_that_of_the_worker_of_xdist(streams: Any, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes behind the project's own; whatever characters that has, other keys stay."""
    streams(KEY_PREFIX="shop[*]")
    raw.set("shop[*]:orders", "the project's")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw7")
    with isolated("configured"):
        publish("orders", {"n": 1})
        (key,) = raw.keys("*gw7*")
        assert key.startswith("shop[*]:test-gw7-")
        assert key.endswith(":orders")
    assert raw.keys() == ["shop[*]:orders"]


@pytest.mark.parametrize("kind", ["fake", "embedded", "configured"])
def test_other_settings_in_a_test_keep_its_server_and_prefix(streams: Any, raw: Any, kind: str) -> None:
    """Of other connections, too; nothing of it is left behind."""
    url = settings.REDIS_STREAMS["CONNECTIONS"]["default"]["URL"]
    other = {"other": {"URL": url, "KEY_PREFIX": "shop"}}
    process = os.environ.get("PYTEST_XDIST_WORKER", "main")
    with isolated(kind):
        publish("orders", {"n": 1})
        with override_settings(REDIS_STREAMS={"CONNECTIONS": other, "STREAMS": {"carts": {"CONNECTION": "other"}}}):
            publish("carts", {"n": 2})
            (key,) = connections.get("other").call("KEYS", "*carts")
            assert key.startswith(f"shop:test-{process}-")
            assert len(raw.keys()) == (2 if kind == "configured" else 0)
        assert connections.get().call("KEYS", "*orders")[0].startswith(f"test-{process}-")
    assert raw.keys() == []
    with isolated("embedded"):
        assert connections.get().call("DBSIZE") == 0


def test_a_worker_is_refused_where_its_processes_would_find_nothing(streams: Any) -> None:
    """On a fake server; the error says what to use instead."""
    handler("orders", group="billing")(print)
    with isolated("fake"), pytest.raises(CommandError, match=r"'default' leads to a fake server.*testing\.drain\(\)"):
        call_command("runconsumers", "--drain")


@pytest.mark.django_db
def test_a_worker_is_refused_within_a_transaction(streams: Any) -> None:
    """As TestCase opens one."""
    handler("orders", group="billing")(print)
    with pytest.raises(CommandError, match=r"within a transaction of database 'default'.*testing\.drain\(\)"):
        call_command("runconsumers", "--drain")


def test_an_unknown_server_is_refused() -> None:
    """The error says which there are."""
    with pytest.raises(ValueError, match="server='real': expected one of 'fake', 'embedded', 'configured', 'off'"):
        isolated("real").__enter__()


def test_the_fake_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the error says how to get it."""
    monkeypatch.setattr("django_redis_streams.connections.fake.find_spec", lambda _: None)
    with pytest.raises(StreamsError, match=r'pip install "django-redis-streams\[testing\]"'):
        isolated("fake").__enter__()


# ---------------------------------------------------------------- what was published


def test_what_was_published_is_told_as_a_handler_gets_it(fake: None) -> None:
    """A Decimal is compared as the text that it becomes; the messages are returned."""
    publish("orders", {"total": Decimal("9.50")}, type="order.new", key="k")
    publish("orders", {"total": Decimal("1.00")}, type="order.gone")
    (message,) = assert_published("orders", type="order.new", payload={"total": Decimal("9.50")}, count=1)
    assert message.key == "k"
    assert message.payload == {"total": "9.50"}
    assert_published("orders", payload={"total": "1.00"})
    assert_published("orders", count=2)
    assert_published("orders", type="order.lost", count=0)


def test_a_failure_shows_what_was_published_and_the_nearest(fake: None) -> None:
    """Expected and found, all there is, and line by line what differs."""
    publish("orders", {"id": 1, "total": "9.50"}, type="order.new")
    publish("orders", ["something else"])
    with pytest.raises(AssertionError) as failed:
        assert_published("orders", type="order.new", payload={"id": 1, "total": "9.99"})
    assert str(failed.value).splitlines() == [
        "Expected at least 1 message on 'orders' of type 'order.new' with payload {'id': 1, 'total': '9.99'}, found 0.",
        "Published on 'orders': 2:",
        "  order.new {'id': 1, 'total': '9.50'}",
        "  (no type) ['something else']",
        "The nearest payload (- expected, + published):",
        "    {",
        '      "id": 1,',
        '  -   "total": "9.99"',
        '  +   "total": "9.50"',
        "    }",
    ]


def test_a_wrong_count_is_told(fake: None) -> None:
    """With a few of many."""
    publish_many("orders", range(30))
    with pytest.raises(AssertionError, match=r"(?s)Expected 2 messages on 'orders', found 30\..*and 20 more"):
        assert_published("orders", count=2)


def test_a_stream_that_is_not_declared_is_an_error(fake: None) -> None:
    """A misspelt name must not pass for "nothing was published"."""
    with pytest.raises(UnknownStream, match="Did you mean 'orders'"):
        assert_published("order", count=0)


def test_nothing_is_told_where_nothing_is_recorded() -> None:
    """Outside an isolated test."""
    with pytest.raises(StreamsError, match="use StreamsMixin"):
        published()


@pytest.mark.django_db
def test_a_failure_says_what_waits_for_a_commit(fake: None) -> None:
    """Which is what was forgotten most often."""
    publish("orders", {"n": 1})
    with pytest.raises(
        AssertionError, match=r"1 call of publish waits for the commit of database 'default', which never"
    ):
        assert_published("orders")


@pytest.mark.django_db
def test_what_was_captured_and_executed_waits_for_no_commit(fake: None) -> None:
    """Django leaves its callback on the connection; nor do others' callbacks count."""
    with TestCase.captureOnCommitCallbacks(execute=True):
        publish("orders", {"n": 1})
    transaction.on_commit(lambda: None)
    with pytest.raises(AssertionError) as failed:
        assert_published("orders", count=2)
    assert "commit" not in str(failed.value)
    publish_many("orders", range(2))
    publish("orders", {"n": 2})
    with pytest.raises(AssertionError, match=r"2 calls of publish wait for the commit"):
        assert_published("orders", count=2)


def test_a_part_of_a_payload_is_compared(fake: None) -> None:
    """Of objects in it, too, those keys that are named; lists and the rest as a whole."""
    publish("orders", {"id": 1, "total": Decimal("9.50"), "by": {"name": "ann", "at": 7}, "n": [1, {"a": 1}]})
    publish("orders", [1])
    assert_published("orders", payload_includes={"total": Decimal("9.50"), "by": {"name": "ann"}}, count=1)
    for other in ({"by": {"name": "bob"}}, {"by": "ann"}, {"none": None}, {"n": [1, {}]}, {"id": {}}):
        assert_published("orders", payload_includes=other, count=0)
    with pytest.raises(AssertionError) as failed:
        assert_published("orders", payload_includes={"by": {"name": "bob"}})
    assert "with a payload that includes {'by': {'name': 'bob'}}, found 0." in str(failed.value)
    assert '-     "name": "bob"' in str(failed.value)
    assert '+     "name": "ann"' in str(failed.value)
    assert "total" not in str(failed.value).partition("The nearest")[2]
    with pytest.raises(ValueError, match="give one of them"):
        assert_published("orders", payload={}, payload_includes={})


def test_the_nearest_payload_is_one_of_the_same_type(fake: None) -> None:
    """Also where another's is nearer."""
    publish("orders", {"id": 1, "total": "9.50"}, type="order.paid")
    publish("orders", {"id": 7}, type="order.new")
    with pytest.raises(AssertionError) as failed:
        assert_published("orders", type="order.new", payload={"id": 1, "total": "9.50"})
    assert '+   "id": 7' in str(failed.value)


def test_other_threads_are_recorded_too(fake: None) -> None:
    """Those of a live server, say."""
    thread = threading.Thread(target=publish, args=("orders", {"n": 1}))
    thread.start()
    thread.join()
    assert_published("orders", count=1)


# ---------------------------------------------------------------- messages


def test_a_made_message_is_as_a_handler_gets_it() -> None:
    """Through JSON, in its first attempt, with an id and a time of its own."""
    message = make_message({"total": Decimal("9.50"), "ids": (1, 2)}, type="order.new", headers={"a": "b"})
    assert message.payload == {"total": "9.50", "ids": [1, 2]}
    assert (message.type, message.attempt, message.lane, dict(message.headers)) == (
        "order.new",
        1,
        "default",
        {"a": "b"},
    )
    assert message.id != make_message({}).id
    assert message.time.tzinfo is not None
    assert message.entry_id.endswith("-0")


# ---------------------------------------------------------------- draining


@pytest.mark.django_db
def test_handlers_run_in_the_transaction_of_the_test(fake: None) -> None:
    """In its thread, on its connection, which is neither closed nor rolled back; coroutines too."""
    before = connection.connection
    Customer.objects.create(number=1)
    threads = set()

    @handler("orders", group="billing", atomic=True)
    def create(message: Any) -> None:
        threads.add(threading.current_thread())
        Customer.objects.create(number=message.payload["n"] + Customer.objects.get(number=1).number)

    @handler("orders", group="loyalty")
    async def count(message: Any) -> None:
        threads.add(await sync_to_async(threading.current_thread)())
        assert await Customer.objects.filter(number=1).aexists()

    with TestCase.captureOnCommitCallbacks(execute=True):
        publish("orders", {"n": 1})
    drain(raise_errors=True)
    assert list(Customer.objects.values_list("number", flat=True)) == [1, 2]
    assert connection.connection is before
    assert connection.in_atomic_block
    assert threads == {threading.current_thread()}


@pytest.mark.django_db
def test_what_a_handler_publishes_is_run_too(fake: None) -> None:
    """As after the commit that a TestCase never makes; and not once more by captureOnCommitCallbacks."""
    runs = []

    @handler("orders", group="billing")
    def go_on(message: Any) -> None:
        runs.append(message.payload["n"])
        if message.payload["n"]:
            with transaction.atomic():
                publish("orders", {"n": message.payload["n"] - 1})

    @handler("orders", group="loyalty")
    def fail(message: Any) -> None:
        with transaction.atomic():
            publish("orders", {"n": 100})
            raise ValueError("rolled back")

    with TestCase.captureOnCommitCallbacks(execute=True):
        publish("orders", {"n": 2})
    with TestCase.captureOnCommitCallbacks(execute=True):
        drain()
    assert runs == [2, 1, 0]
    assert_published("orders", count=3)


def test_retries_wait_unless_told_otherwise(fake: None) -> None:
    """`hasten=True` runs them at once, to the end; without it what isn't due stays."""

    @handler("orders", group="billing", max_retries=2, backoff=(3600, 7200))
    def fail(message: Any) -> None:
        raise Retry(delay=3600)

    publish("orders", {"n": 1})
    assert (drain().retried, drain().settled) == (1, 0)
    drained = drain(hasten=True)
    assert (drained.retried, drained.dead_lettered, drained.errors) == (1, 1, [])


def test_what_becomes_due_meanwhile_is_run(fake: None) -> None:
    """As a worker runs it: a retry without a wait comes at once, and a drain ends."""

    @handler("orders", group="billing", max_retries=3)
    def fail(message: Any) -> None:
        raise Retry(0)

    publish("orders", 1)
    drained = drain()
    assert (drained.retried, drained.dead_lettered) == (3, 1)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("totals", "couldn't settle a message: .*WRONGTYPE"),
        ("redelivery", "can't be drained: .*WRONGTYPE"),
        ("retry", "can't be moved: .*WRONGTYPE"),
    ],
)
def test_a_server_that_refuses_ends_a_drain(fake: None, name: str, why: str) -> None:
    """A worker would try again for ever; a test is to fail."""

    @handler("orders", group="billing")
    def charge(message: Any) -> None:
        """Charge."""

    publish("orders", 1)
    connections.get().call("SET", getattr(conf.stream("orders").keys, name)("billing"), "of a wrong type")
    with pytest.raises(ServerRefused, match=why):
        drain()


def test_delayed_messages_wait_too(fake: None) -> None:
    """Until they are due, or hastened; they are published at once."""
    runs = []

    @handler("orders", group="billing")
    def charge(message: Any) -> None:
        runs.append(message.payload)

    publish("orders", 1, delay=3600)
    assert_published("orders", count=1)
    assert drain().settled == 0
    assert drain(hasten=True).acknowledged == 1
    assert runs == [1]


def test_an_error_is_raised_and_the_rest_is_left(fake: None) -> None:
    """The message is settled as it would be; what wasn't begun is there for the next drain."""
    runs = []

    @handler("orders", group="billing", max_retries=0)
    def fail(message: Any) -> None:
        runs.append(message.payload)
        if message.payload == 1:
            raise LookupError("one")

    publish_many("orders", [0, 1, 2])
    with pytest.raises(LookupError, match="one"):
        drain(raise_errors=True)
    assert runs == [0, 1]
    assert books()["dead-lettered"] == "1"
    assert drain().acknowledged == 1
    assert runs == [0, 1, 2]


def test_rejecting_is_no_error(fake: None) -> None:
    """Nor is asking for a retry: the handler says what it wants."""

    @handler("orders", group="billing")
    def reject(message: Any) -> None:
        raise Reject("no")

    publish("orders", {"n": 1})
    assert drain(raise_errors=True).dead_lettered == 1


def test_the_guilty_one_of_a_batch_is_told_once(fake: None) -> None:
    """The batch that failed is run again one by one."""

    @handler("orders", group="billing", batch=True, backoff=(600, 600))
    def add_up(messages: Any) -> None:
        if 1 in [each.payload for each in messages]:
            raise LookupError("one")

    publish_many("orders", [0, 1, 2])
    drained = drain()
    assert (drained.acknowledged, drained.retried, list(map(repr, drained.errors))) == (2, 1, ["LookupError('one')"])


def test_what_ends_a_test_ends_the_drain(fake: None) -> None:
    """Ctrl-C, a time-out and pytest.fail() aren't failures of a message."""

    @handler("orders", group="billing")
    def fail(message: Any) -> None:
        pytest.fail("the test is over")

    publish("orders", {"n": 1})
    with pytest.raises(pytest.fail.Exception, match="the test is over"):
        drain()


def test_a_handler_that_never_ends_is_found(fake: None) -> None:
    """One that publishes to itself, or asks for ever."""

    @handler("orders", group="billing")
    def again(message: Any) -> None:
        raise Retry(count=False)

    publish("orders", {"n": 1})
    with pytest.raises(RuntimeError, match=r"has run 20 handlers, the last of them .*again, and more is left"):
        drain(hasten=True, limit=20)


def test_places_are_streams_or_groups(fake: None) -> None:
    """Without a name all groups that have handlers; with one only that; without a handler an error."""
    runs = []

    @handler("orders", group="billing")
    def bill(message: Any) -> None:
        runs.append("billing")

    @handler("orders", group="loyalty")
    def add(message: Any) -> None:
        runs.append("loyalty")

    publish("orders", {"n": 1})
    drain("orders:loyalty")
    assert runs == ["loyalty"]
    drain("orders")
    assert runs == ["loyalty", "billing"]
    with pytest.raises(ConfigurationError, match=r"drain\('orders:analytics'\): no handler"):
        drain("orders:analytics")
    with pytest.raises(UnknownStream, match="Did you mean 'orders'"):
        drain("order")


def test_a_server_that_is_not_there_is_an_error_at_once(settings: Any) -> None:
    """A worker would wait for it."""

    @handler("orders", group="billing")
    def charge(message: Any) -> None: ...

    settings.REDIS_STREAMS = {
        "CONNECTIONS": {"default": {"URL": "unix:///nowhere"}},
        "STREAMS": {"orders": {"GROUPS": {"billing": {}}}},
    }
    with pytest.raises(ServerUnreachable), connections.leading(connections.Endpoint.of):
        drain()


class InATestCase(StreamsMixin, TestCase):
    """The mixin gives each test an empty server."""

    def test_one(self) -> None:
        """What one test publishes, the other doesn't find."""
        self._publish()

    def test_two(self) -> None:
        """Whichever comes first."""
        self._publish()

    def _publish(self) -> None:
        runs = []

        @handler("orders", group="billing")
        def charge(message: Any) -> None:
            runs.append(Customer.objects.create(number=message.payload))

        with self.captureOnCommitCallbacks(execute=True):
            publish("orders", 1)
        self.assertPublished("orders", payload=1, count=1)
        assert self.drainStreams(raise_errors=True).acknowledged == 1
        assert len(runs) == 1


class InATransactionTestCase(StreamsMixin, TransactionTestCase):
    """Where transactions do commit."""

    streams_server = "embedded"

    def test_commits(self) -> None:
        """What is committed is published, by a handler too."""

        @handler("orders", group="billing", atomic=True)
        def charge(message: Any) -> None:
            if message.payload:
                publish("orders", message.payload - 1)

        publish("orders", 3)
        assert self.drainStreams().acknowledged == 4
