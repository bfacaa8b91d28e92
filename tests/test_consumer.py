"""One consumer on a real server: what becomes of each message."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from django_redis_streams.exceptions import Reject, Retry
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message, new_id
from django_redis_streams.worker.execution.executor import Executor
from django_redis_streams.worker.timing import Timing

from .support.books import books, letters, totals
from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import HASTY, Worker, drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
bill = handler("orders", group="billing")


@pytest.fixture
def group(streams: Callable[..., None]) -> Callable[..., None]:
    """Gives the group other settings."""
    return lambda **settings: streams({"orders": {"GROUPS": {"billing": settings}}})


@pytest.fixture
def octets(server: Server) -> Iterator[redis.Redis]:
    """A client that leaves bytes as they are."""
    client = redis.Redis(unix_socket_path=str(server.socket))
    yield client
    client.close()


def test_a_message_is_handled_and_acknowledged(raw: Raw) -> None:
    """A handler that returns has its message acknowledged, and counted."""
    seen: list[Message] = []
    bill(seen.append)
    raw.xadd("orders", {"order_id": "ord_123", "total": "99.99"})
    drain()
    assert [each.payload for each in seen] == [{"order_id": "ord_123", "total": "99.99"}]
    assert raw.xpending("orders", "billing")["pending"] == 0
    assert totals(raw) == {"acknowledged": 1}


def test_a_foreign_entry_has_its_place_as_its_id(raw: Raw) -> None:
    """A field `id` of another client's is an order number, not a message's id."""
    seen: list[Message] = []
    bill(seen.append)
    entry_id = raw.xadd("orders", {"id": "7", "type": "order.imported"})
    drain()
    (message,) = seen
    assert (message.id, message.entry_id, message.type) == (f"orders/{entry_id}", entry_id, "order.imported")
    assert (message.stream, message.group, message.attempt) == ("orders", "billing", 1)


def test_an_envelope_of_any_client_reaches_the_handler_as_a_message(raw: Raw) -> None:
    """Its id, type, payload, key and headers are the message's."""
    seen: list[Message] = []
    bill(seen.append)
    identity = new_id()
    envelope = {"id": identity, "type": "order.paid", "data": '{"total": "1.00"}', "key": "k", "headers": '{"a": 1}'}
    raw.xadd("orders", envelope)
    drain()
    (message,) = seen
    assert (message.id, message.type, message.payload) == (identity, "order.paid", {"total": "1.00"})
    assert (message.key, dict(message.headers)) == ("k", {"a": 1})


# ---------------------------------------------------------------- retries


def test_a_failed_message_is_retried_and_then_dead_lettered(raw: Raw, group: Any) -> None:
    """After MAX_RETRIES retries it is in the dead letter queue, with what is known of its failure."""
    group(MAX_RETRIES=2, BACKOFF=(0.01, 0.02))
    seen: list[tuple[str, int]] = []

    @bill
    def fail(message: Message) -> None:
        seen.append((message.id, message.attempt))
        raise RuntimeError("no luck")

    entry_id = raw.xadd("orders", {"a": "1", "b": "2"})
    with working():
        wait_until(lambda: letters(raw))
    assert seen == [(f"orders/{entry_id}", attempt) for attempt in (1, 2, 3)]
    (letter,) = letters(raw)
    assert letter.metadata["id"] == f"orders/{entry_id}"
    assert letter.metadata["entry"] == entry_id
    assert (letter.metadata["group"], letter.metadata["attempt"]) == ("billing", 3)
    assert letter.metadata["reason"] == "retries exhausted"
    assert letter.metadata["error"] == "RuntimeError: no luck"
    assert "raise RuntimeError" in letter.metadata["traceback"]
    assert letter.metadata["first"] <= letter.metadata["last"]
    assert letter.fields == ["a", "1", "b", "2"]
    assert totals(raw) == {"retried": 2, "dead-lettered": 1}
    assert raw.xlen("{orders}:redelivery:billing") == 0
    assert raw.zcard("{orders}:retry:billing") == raw.hlen("{orders}:retry:billing:entries") == 0


def test_a_retry_waits_for_its_backoff(raw: Raw, group: Any) -> None:
    """It waits in the retry set, by the server's clock, at most as long as BACKOFF allows."""
    group(BACKOFF=(500, 600))

    @bill
    def fail(message: Message) -> None:
        raise RuntimeError("no luck")

    raw.xadd("orders", {"a": "1"})
    drain()
    ((_, due),) = raw.zrange("{orders}:retry:billing", 0, -1, withscores=True)
    seconds, microseconds = raw.time()
    assert 0 <= due / 1_000 - seconds - microseconds / 1e6 <= 500
    assert books(raw).retrying == 1


def test_a_retry_may_name_its_delay(raw: Raw) -> None:
    """Retry(delay=…) is run again no sooner than it asked for, by the server's clock, which is in milliseconds."""
    runs: list[float] = []

    @bill
    def run(message: Message) -> None:
        runs.append(time.monotonic())
        if len(runs) == 1:
            raise Retry(delay=0.3)

    raw.xadd("orders", {"a": "1"})
    with working():
        wait_until(lambda: totals(raw).get("acknowledged"))
    assert runs[1] - runs[0] > 0.29


@pytest.mark.parametrize("delay", [1e300, 10**400], ids=["a float", "an int"])
def test_a_retry_may_be_asked_for_after_any_time(raw: Raw, delay: float) -> None:
    """What no clock can hold is far away, and ends no worker."""

    @bill
    def run(message: Message) -> None:
        raise Retry(delay=delay)

    raw.xadd("orders", {"a": "1"})
    drain()
    assert books(raw).retrying == 1


def test_retry_without_count_uses_up_no_retry(raw: Raw, group: Any) -> None:
    """Retry(count=False) may be raised more often than MAX_RETRIES."""
    group(MAX_RETRIES=0)
    seen: list[int] = []

    @bill
    def charge(message: Message) -> None:
        seen.append(message.attempt)
        if len(seen) < 4:
            raise Retry(delay=0, count=False)

    raw.xadd("orders", {"a": "1"})
    with working():
        wait_until(lambda: totals(raw).get("acknowledged"))
    assert seen == [1, 1, 1, 1]


def test_a_retry_that_succeeds_is_acknowledged_and_gone(raw: Raw, group: Any) -> None:
    """Nothing of it stays in the redelivery stream, and it counts as acknowledged once."""
    group(BACKOFF=(0.01, 0.02))

    @bill
    def run(message: Message) -> None:
        if message.attempt == 1:
            raise RuntimeError("once")

    for n in range(20):
        raw.xadd("orders", {"n": n})
    with working():
        wait_until(lambda: totals(raw).get("acknowledged") == 20)
    assert books(raw).all == 20
    assert raw.xlen("{orders}:redelivery:billing") == 0
    assert raw.xinfo_groups("{orders}:redelivery:billing")[0]["pending"] == 0


# ---------------------------------------------------------------- dead letters


def test_reject_dead_letters_at_once(raw: Raw) -> None:
    """A handler that raises Reject is not run again; its reason is told."""

    @bill
    def charge(message: Message) -> None:
        raise Reject("nothing to charge")

    raw.xadd("orders", {"a": "1"})
    drain()
    (letter,) = letters(raw)
    assert (letter.metadata["reason"], letter.metadata["error"]) == ("rejected", "nothing to charge")
    assert totals(raw) == {"dead-lettered": 1}


def test_what_no_handler_takes_is_dead_lettered(raw: Raw) -> None:
    """A rolling deploy of a new type loses nothing."""
    handler("orders", group="billing", type="known")(lambda _: None)
    raw.xadd("orders", {"type": "unknown", "a": "1"})
    drain()
    (letter,) = letters(raw)
    assert (letter.metadata["reason"], letter.metadata["type"]) == ("no handler", "unknown")
    assert letter.fields == ["type", "unknown", "a", "1"]


@pytest.mark.timeout(40)
def test_a_type_of_any_length_holds_up_nobody(raw: Raw) -> None:
    """No pattern takes one that is too long: a dead letter, whose error doesn't repeat it and whose fields do."""
    handler("orders", group="billing", type="order.*.item.*.changed")(lambda _: None)
    long = "order." + ".item." * 150_000
    raw.xadd("orders", {"type": long, "a": "1"})
    raw.xadd("orders", {"type": "order.7.item.8.changed"})
    drain()
    assert totals(raw) == {"acknowledged": 1, "dead-lettered": 1}
    (letter,) = letters(raw)
    assert letter.metadata["reason"] == "no handler"
    assert "which has 900,006 characters" in letter.metadata["error"]
    assert len(letter.metadata["error"]) < 200
    assert letter.fields == ["type", long, "a", "1"]


def test_what_no_handler_takes_is_skipped_where_the_group_says_so(raw: Raw, group: Any) -> None:
    """UNMATCHED "skip": acknowledged, and counted as skipped, not as acknowledged."""
    group(UNMATCHED="skip")
    handler("orders", group="billing", type="known")(lambda _: None)
    raw.xadd("orders", {"type": "unknown"})
    raw.xadd("orders", {"type": "known"})
    drain()
    assert totals(raw) == {"skipped": 1, "acknowledged": 1}


BROKEN = {
    "JSON that is none": [b"id", new_id().encode(), b"data", b"{not json"],
    "bytes that are no UTF-8": [b"id", new_id().encode(), b"data", b'"\xff\xfe\x00"'],
    "a NaN": [b"id", new_id().encode(), b"data", b"NaN"],
    "headers that are a list": [b"id", new_id().encode(), b"data", b"1", b"headers", b"[]"],
    "JSON that is too deep": [b"id", new_id().encode(), b"data", b"[" * 100_000],
    "a number that is too long": [b"id", new_id().encode(), b"data", b"1" * 5_000],
}


@pytest.mark.parametrize("fields", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_decoded_is_dead_lettered_with_its_bytes(octets: redis.Redis, fields: list[bytes]) -> None:
    """No handler sees it, nothing stops, and each byte is kept."""
    seen: list[Message] = []
    bill(seen.append)
    octets.execute_command("XADD", "orders", "*", *fields)
    octets.xadd("orders", {"next": "1"})
    drain()
    assert [each.payload for each in seen] == [{"next": "1"}]
    kept = octets.execute_command("EVAL", "return redis.call('XRANGE', KEYS[1], '-', '+')", 1, "{orders}:dlq")[0][1]
    assert kept[2:] == fields
    assert b'"reason":"invalid"' in kept[1]


def test_bytes_and_order_of_a_foreign_entry_survive_retry_and_dead_letter(octets: redis.Redis, group: Any) -> None:
    """Fields that come twice, bytes that are no text and empty names arrive in the queue as they were."""
    group(MAX_RETRIES=1, BACKOFF=(0.01, 0.02))
    fields = [b"b", b"2", b"a", b"\xff\x00\n", b"a", b"again", b"", b"", b"drs", b"{}"]

    @bill
    def fail(message: Message) -> None:
        raise RuntimeError("no luck")

    octets.execute_command("XADD", "orders", "*", *fields)
    with working():
        wait_until(lambda: octets.xlen("{orders}:dlq"))
    kept = octets.execute_command("EVAL", "return redis.call('XRANGE', KEYS[1], '-', '+')", 1, "{orders}:dlq")[0][1]
    assert kept[2:] == fields


def test_an_entry_of_very_many_fields_survives_retry_and_dead_letter(raw: Raw, group: Any) -> None:
    """More fields than Lua can hand to one command."""
    group(MAX_RETRIES=1, BACKOFF=(0.01, 0.02))
    seen: list[int] = []

    @bill
    def fail(message: Message) -> None:
        seen.append(len(message.payload))
        raise RuntimeError("no luck")

    raw.xadd("orders", {f"field {n}": n for n in range(10_000)})
    with working():
        wait_until(lambda: letters(raw))
    assert seen == [10_000, 10_000]


def test_what_a_foreign_hand_puts_into_a_redelivery_stream_stops_nothing(raw: Raw) -> None:
    """Handled as what it is, or dead-lettered."""
    seen: list[Message] = []
    bill(seen.append)
    redelivery = "{orders}:redelivery:billing"
    raw.xadd(redelivery, {"a": "1"})
    raw.xadd(redelivery, {"drs": "not json", "a": "2"})
    raw.xadd(redelivery, {"drs": "[]", "a": "3"})
    raw.xadd(redelivery, {"drs": '{"id":"x","source":"orders","entry":"1-0"}', "drs-folded": '["odd"]'})
    raw.xadd(redelivery, {"drs": '{"id":"x","source":"orders","entry":"nonsense","attempt":-7}', "a": "4"})
    raw.xadd("orders", {"a": "5"})
    drain()
    assert {each.payload.get("a") for each in seen} >= {"1", "2", "3", "4", "5"}
    assert raw.xlen(redelivery) == 0


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("what", ["stopped", "lost", "claimed by another", "no more granted"])
def test_of_a_batch_what_may_not_be_run_any_more_is_left(raw: Raw, group: Any, what: str) -> None:
    """It was read with others, which ran first: what happened meanwhile counts for a call for several, too."""
    group(CLAIM_IDLE=0.2)
    ran: list[str] = []
    ids = [raw.xadd("orders", {"type": kind}) for kind in ("first", "second", "second")]
    # Without a heartbeat, which would see by itself what is lost.
    grants = iter([True, True, False])

    @handler("orders", type="first", group="billing", batch=True)
    def first(messages: list[Message]) -> None:
        match what:
            case "stopped":
                worker.stop.set()
            case "lost":
                worker.runner.unacked.release([f"orders/{ids[1]}"])
            case "claimed by another":
                raw.xclaim("orders", "billing", "another", 0, [ids[1]])
                now = time.monotonic()
                wait_until(lambda: time.monotonic() - now > 0.1, "half of CLAIM_IDLE is over")

    @handler("orders", type="second", group="billing", batch=True)
    def second(messages: list[Message]) -> None:
        worker.stop.set()
        ran.extend(each.entry_id for each in messages)

    worker = Worker(drain=True, timing=HASTY, begin=(lambda: next(grants)) if what == "no more granted" else None)
    worker.start().join()
    expected = {"stopped": [], "lost": ids[2:], "claimed by another": ids[2:], "no more granted": ids[1:2]}
    assert ran == expected[what]


def test_of_a_batch_only_the_guilty_message_fails(raw: Raw) -> None:
    """Those that were run with it are acknowledged."""

    @handler("orders", group="billing", batch=True)
    def run(messages: list[Message]) -> None:
        if any(each.payload["n"] == "3" for each in messages):
            raise Reject("three")

    for n in range(8):
        raw.xadd("orders", {"n": n})
    drain()
    assert [letter.fields for letter in letters(raw)] == [["n", "3"]]
    assert totals(raw) == {"acknowledged": 7, "dead-lettered": 1}


@pytest.mark.parametrize("batch", [True, False])
def test_only_messages_that_run_alone_are_read_by_their_time(
    raw: Raw, group: Any, monkeypatch: pytest.MonkeyPatch, batch: bool
) -> None:
    """The call of a batch handler takes as long for few: its lists stay as long as BATCH_SIZE allows."""
    group(BATCH_SIZE=20)
    read: list[int] = []

    @handler("orders", group="billing", batch=batch)
    def run(_: Any) -> None:
        time.sleep(0.002)

    def counted(executor: Executor, deliveries: Any, *rest: Any) -> Any:
        read.append(len(deliveries))
        return execute(executor, deliveries, *rest)

    execute = Executor.run
    monkeypatch.setattr(Executor, "run", counted)
    for n in range(70):
        raw.xadd("orders", {"n": n})
    drain(timing=Timing(batch=0.001))
    assert totals(raw) == {"acknowledged": 70}
    assert (max(read) == 20) == batch
    assert min(read[1:]) < 10 or batch


def test_a_handler_that_ends_the_interpreter_ends_only_its_run(raw: Raw, group: Any) -> None:
    """sys.exit() in a handler: the message is retried, the worker goes on."""
    group(MAX_RETRIES=0)

    @bill
    def run(message: Message) -> None:
        if message.payload["n"] == "0":
            raise SystemExit(3)

    for n in range(3):
        raw.xadd("orders", {"n": n})
    drain()
    assert totals(raw) == {"acknowledged": 2, "dead-lettered": 1}
    assert letters(raw)[0].metadata["error"] == "SystemExit: 3"


def test_a_long_drain_holds_on_to_nothing(raw: Raw) -> None:
    """When all is settled the consumer remembers none of it."""
    bill(lambda _: None)
    pipeline = raw.pipeline(transaction=False)
    for n in range(5_000):
        pipeline.xadd("orders", {"n": n})
    pipeline.execute()
    worker = Worker(drain=True).start()
    worker.join()
    assert totals(raw) == {"acknowledged": 5_000}
    assert len(worker.runner.unacked) == len(worker.runner.unsettled) == 0
