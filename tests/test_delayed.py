"""Delayed messages, on a real server."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from django_redis_streams import Reject, apublish, conf, connections, inspection, publish, publish_many
from django_redis_streams.exceptions import InvalidMessage, ServerRefused
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.operations import dead_letters, waiting
from django_redis_streams.store.consume.promote import promote
from django_redis_streams.testing import drain
from django_redis_streams.worker.services.promoter import Promoter
from django_redis_streams.worker.timing import DEFAULT_TIMING

from .support import states
from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
DELAYED, ENTRIES = "{orders}:delayed", "{orders}:delayed:entries"
# So many keys a flat payload may have beside the id, when a script is to move it.
WIDEST = 2_999


def _promote() -> Any:
    return promote(connections.get(), conf.stream("orders"), [], "tested")


def test_a_delayed_message_is_handled_when_it_is_due_and_not_before(raw: Raw) -> None:
    """It has the id and the time of the call, and leaves nothing behind."""
    got: list[tuple[Message, float]] = []
    handler("orders", group="billing")(lambda message: got.append((message, time.time())))
    began = time.time()
    message = publish("orders", {"n": 1}, delay=timedelta(seconds=0.5))
    with working():
        wait_until(lambda: got)
    handled, at = got[0]
    assert at - began >= 0.499
    assert (handled.id, handled.payload, handled.time) == (message.id, {"n": 1}, message.time)
    assert not raw.exists(DELAYED, ENTRIES)


def test_a_time_is_absolute_and_one_that_is_past_is_now(raw: Raw) -> None:
    """The due time on the server is that of `at`; what is past moves with the next step."""
    at = datetime(2100, 1, 1, tzinfo=UTC)
    later = publish("orders", 1, at=at)
    asyncio.run(apublish("orders", 2, at=datetime(2000, 1, 1, tzinfo=UTC)))
    assert raw.zscore(DELAYED, later.id) == at.timestamp() * 1000
    assert _promote().moved == 1
    assert raw.xlen("orders") == 1


def test_many_are_delayed_together_and_moved_in_order_to_their_lane(raw: Raw, streams: Callable[..., None]) -> None:
    """`publish_many` counts them; more than one step's worth is told, and the lane is kept."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}}}})
    assert publish_many("orders", range(300), lane="high", delay=0) == 300
    wait_until(lambda: not (step := _promote()).more and step.moved == 0)
    data = [int(fields["data"]) for _, fields in raw.xrange("{orders}:lane:high")]
    assert sorted(data) == list(range(300))


def test_a_flat_message_can_be_delayed(raw: Raw, streams: Callable[..., None]) -> None:
    """Its entry is the payload's fields and the id, as without a delay."""
    streams({"orders": {"FORMAT": "flat", "GROUPS": {"billing": {}}}})
    message = publish("orders", {"n": 1}, delay=0)
    wait_until(lambda: _promote().moved)
    assert raw.xrange("orders")[0][1] == {"drs-id": message.id, "n": "1"}


def test_the_widest_flat_message_can_be_delayed(raw: Raw, streams: Callable[..., None]) -> None:
    """Whether its time comes or somebody publishes it by hand."""
    streams({"orders": {"FORMAT": "flat", "GROUPS": {"billing": {}}}})
    widest = {str(n): n for n in range(WIDEST)}
    publish("orders", widest, delay=0)
    by_hand = publish("orders", widest, delay=60)
    assert _promote().moved == 1
    assert waiting.publish_delayed("orders", [by_hand.id], by="ann").done == (by_hand.id,)
    assert [len(fields) for _, fields in raw.xrange("orders")] == [WIDEST + 1, WIDEST + 1]


def test_a_flat_message_that_no_script_could_move_is_refused_at_the_call(
    raw: Raw, streams: Callable[..., None]
) -> None:
    """The error says how many fields there are, how many there may be and what to do. Of many it names the index."""
    streams({"orders": {"FORMAT": "flat", "MAX_PAYLOAD": 10**7, "GROUPS": {"billing": {}}}})
    for count in (WIDEST + 1, 4_500, 60_000):
        wide = {str(n): n for n in range(count)}
        with pytest.raises(InvalidMessage, match=rf"{count + 1:,} fields.* {WIDEST + 1:,} .*without a delay"):
            publish("orders", wide, delay=60)
        with pytest.raises(InvalidMessage, match=rf"payloads\[1\]: .*{count + 1:,} fields"):
            publish_many("orders", [{"a": 1}, wide], at=datetime(2100, 1, 1, tzinfo=UTC))
    assert not raw.exists(DELAYED, ENTRIES, "orders")


@pytest.mark.parametrize("origin", ["published", "delayed", "foreign"])
def test_any_number_of_fields_about_the_most_goes_all_ways(raw: Raw, streams: Callable[..., None], origin: str) -> None:
    """Retried, rejected, replayed and acknowledged with all of its fields; the metadata takes one field more."""
    streams({"orders": {"FORMAT": "flat", "MAX_PAYLOAD": 10**7, "GROUPS": {"billing": {}}}})
    got: dict[int, list[dict[str, str]]] = {}

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        runs = got.setdefault(len(message.payload), [])
        runs.append(message.payload)
        if len(runs) == 1:
            raise ValueError("again")
        if len(runs) == 2:
            raise Reject("no more")

    widest = WIDEST if origin == "delayed" else WIDEST + 11
    payloads = {size: {str(n): str(n) for n in range(size)} for size in range(WIDEST - 9, widest + 1)}
    for payload in payloads.values():
        if origin == "foreign":
            raw.xadd("orders", payload)
        else:
            publish("orders", payload, delay=0 if origin == "delayed" else None)
    drained = drain("orders", hasten=True)
    assert (drained.retried, drained.dead_lettered) == (len(payloads), len(payloads))
    letters = [each for each, _ in raw.xrange("{orders}:dlq")]
    assert dead_letters.replay("orders", letters, by="ann").done == tuple(letters)
    assert drain("orders").acknowledged == len(payloads)
    assert got == {size: [payload] * 3 for size, payload in payloads.items()}


def test_a_wide_flat_message_without_a_delay_is_handled_retried_and_replayed(
    raw: Raw, streams: Callable[..., None]
) -> None:
    """A retry and a dead letter have all of its fields: no script has to hand them to a command one by one."""
    streams({"orders": {"FORMAT": "flat", "GROUPS": {"billing": {"MAX_RETRIES": 1}}}})
    wide, got = {str(n): str(n) for n in range(10_000)}, list[Message]()

    @handler("orders", group="billing", backoff=(0.001, 0.001))
    def fail(message: Message) -> None:
        got.append(message)
        if len(got) < 3:
            raise ValueError("again")

    publish("orders", wide)
    with working():
        (letter,) = wait_until(lambda: inspection.dead_letters().rows)
        dead_letters.replay("orders", [letter.entry_id], by="ann")
        wait_until(lambda: inspection.group_totals("orders", "billing").get("acknowledged"))
    assert [message.payload == wide for message in got] == [True] * 3


def _foreign(raw: Raw, due: str, entries: str, count: int, row: bytes) -> None:
    """Put what isn't ours among what waits, due before all else."""
    raw.zadd(due, {f"foreign-{n:03}": n for n in range(count)})
    for n in range(count):
        raw.execute_command("HSET", entries, f"foreign-{n:03}", row)


def _array(*values: bytes) -> bytes:
    return b"\xdd" + len(values).to_bytes(4, "big") + b"".join(values)


def _text(value: bytes) -> bytes:
    return b"\xdb" + len(value).to_bytes(4, "big") + value


WIDE = [_text(each) for n in range(4_500) for each in (b"%d" % n, b"\xff\x00'\"\\/")]
UNMOVABLE = {
    "too many fields": _array(_text(b"default"), *WIDE),
    "no fields": _array(_text(b"default")),
    "a name without a value": _array(_text(b"default"), _text(b"n")),
    "no lane": _array(),
    "a list in a list": _array(_text(b"default"), _text(b"n"), _array()),
    "not a list": _text(b"default"),
    "a number": b"\x07",
    "not msgpack": b"\xc1\xff\x00 garbage",
    "cut off": _array(_text(b"default"), _text(b"n"), _text(b"1"))[:-1],
    "empty": b"",
}


@pytest.mark.parametrize("what", UNMOVABLE)
@pytest.mark.parametrize("group", [None, "billing"], ids=["delayed", "retries"])
def test_what_cannot_be_moved_holds_up_nothing_and_becomes_a_dead_letter(
    raw: Raw, caplog: pytest.LogCaptureFixture, group: str | None, what: str
) -> None:
    """More of it than one step takes, before what is well. Its bytes are all there, and the log tells."""
    due, entries = (
        (DELAYED, ENTRIES) if group is None else (f"{{orders}}:retry:{group}", f"{{orders}}:retry:{group}:entries")
    )
    handler("orders", group="billing")(print)
    _foreign(raw, due, entries, 120, UNMOVABLE[what])
    if group is None:
        publish("orders", {"well": 1}, delay=0)
    else:
        states.publish(raw, {"well": "1"})
        states.retry(delay=0)
    with caplog.at_level(logging.ERROR), working():
        wait_until(lambda: inspection.group_totals("orders", "billing").get("acknowledged") == 1)
        wait_until(lambda: not raw.exists(due, entries))
    assert raw.xlen("{orders}:dlq") == 120
    rows = inspection.dead_letters().rows
    assert {(row.reason, row.group, row.native) for row in rows} == {("invalid", group or "", True)}
    assert {row.message_id for row in rows} < {f"foreign-{n:03}" for n in range(120)}
    assert "can't be moved" in rows[0].error
    kept = "".join(rows[0].fields or ()).encode("utf-8", "surrogateescape")
    assert kept == (b"".join(each[5:] for each in WIDE) if what == "too many fields" else b"entry" + UNMOVABLE[what])
    assert "were dead-lettered" in caplog.text
    if group is not None:
        assert inspection.group_totals("orders", group)["dead-lettered"] == 120


@pytest.mark.parametrize("what", UNMOVABLE)
def test_what_cannot_be_moved_is_refused_when_it_is_to_be_published(raw: Raw, what: str) -> None:
    """It stays, and its neighbours are published."""
    _foreign(raw, DELAYED, ENTRIES, 1, UNMOVABLE[what])
    well = publish("orders", {"well": 1}, delay=60)
    answers = waiting.publish_delayed("orders", ["foreign-000", well.id], by="ann")
    assert answers.done == (well.id,)
    assert "can't be moved" in str(answers.refused["foreign-000"])
    assert raw.hkeys(ENTRIES) == ["foreign-000"]


def test_a_lane_that_cannot_be_appended_to_holds_up_no_other(raw: Raw, streams: Callable[..., None]) -> None:
    """However much is due for it, before what is due for others: that moves, and the rest once it can."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}}}})
    publish_many("orders", range(350), lane="high", at=datetime(2000, 1, 1, tzinfo=UTC))
    publish_many("orders", range(250), at=datetime(2001, 1, 1, tzinfo=UTC))
    raw.set("{orders}:lane:high", "not a stream")
    handled: list[Any] = []
    handler("orders", group="billing")(lambda message: handled.append(message.payload))
    promoter = Promoter("default", threading.Event(), [conf.stream("orders")], DEFAULT_TIMING)
    link = connections.get()
    wait_until(lambda: (promoter.step(link), raw.xlen("orders") == 250)[1])
    assert raw.zcard(DELAYED) == 350
    raw.delete("{orders}:lane:high")
    wait_until(lambda: (promoter.step(link), raw.xlen("{orders}:lane:high") == 350)[1])


def test_large_delayed_messages_are_moved_a_few_at_a_time(raw: Raw, streams: Callable[..., None]) -> None:
    """A step is bounded by what it copies, not only by how many: the server does nothing else meanwhile."""
    streams({"orders": {"GROUPS": {"billing": {}}}})
    publish_many("orders", ["x" * 900_000] * 12, delay=0)
    step = _promote()
    assert 0 < step.moved < 12
    assert step.more
    wait_until(lambda: not _promote().more)
    assert raw.xlen("orders") == 12


@pytest.mark.django_db(transaction=True)
def test_a_delayed_message_of_a_rolled_back_transaction_never_is(raw: Raw) -> None:
    """It comes to the server with the commit, not with the call."""
    with transaction.atomic():
        publish("orders", 1, delay=60)
        transaction.set_rollback(True)
    with transaction.atomic():
        kept = publish("orders", 2, delay=60)
        assert not raw.exists(DELAYED)
    assert raw.zrange(DELAYED, 0, -1) == [kept.id]


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay": -1},
        {"delay": float("nan")},
        {"delay": float("inf")},
        {"delay": True},
        {"delay": "5"},
        {"at": datetime(2100, 1, 1)},  # noqa: DTZ001  naive on purpose
        {"at": 5},
        {"delay": 1, "at": datetime(2100, 1, 1, tzinfo=UTC)},
    ],
)
def test_what_is_no_time_to_wait_for_is_an_error_of_the_call(raw: Raw, wrong: dict[str, Any]) -> None:
    """The error names the argument, and nothing is kept."""
    with pytest.raises(InvalidMessage, match=next(iter(wrong))):
        publish("orders", 1, **wrong)
    assert not raw.exists(DELAYED, ENTRIES, "orders")


def test_a_token_without_a_row_is_removed_and_reported(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """It would else be looked at for ever."""
    handler("orders", group="billing")(print)
    raw.zadd(DELAYED, {"lost": 1})
    with caplog.at_level(logging.ERROR), working():
        wait_until(lambda: not raw.exists(DELAYED))
        wait_until(lambda: "their entries are gone" in caplog.text)


def test_a_lane_that_cannot_be_appended_to_keeps_what_is_delayed(raw: Raw, streams: Callable[..., None]) -> None:
    """What is due there stays and is told; what is due elsewhere moves, and the rest once it can."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}}}})
    kept = publish("orders", 1, lane="high", at=datetime(2000, 1, 1, tzinfo=UTC))
    publish("orders", 2, at=datetime(2000, 1, 1, tzinfo=UTC))
    raw.set("{orders}:lane:high", "not a stream")
    step = _promote()
    assert step.moved == 1
    assert "delayed messages" in step.problems[0]
    assert raw.zrange(DELAYED, 0, -1) == raw.hkeys(ENTRIES) == [kept.id]
    raw.delete("{orders}:lane:high")
    assert _promote().moved == 1
    assert raw.xlen("{orders}:lane:high") == 1


@pytest.mark.parametrize("refused", ["zrem", "hdel"])
def test_a_refused_removal_makes_no_copies(
    raw: Raw, server: Server, streams: Callable[..., None], refused: str
) -> None:
    """An entry that can't be taken from the delayed set isn't appended either, look after look."""
    publish("orders", 1, at=datetime(2000, 1, 1, tzinfo=UTC))
    raw.acl_setuser("limited", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", f"-{refused}"])
    try:
        streams(URL=server.url, OPTIONS={"username": "limited", "password": "any"})
        assert all(_promote().problems for _ in range(3))
    finally:
        raw.acl_deluser("limited")
    assert (raw.xlen("orders"), raw.zcard(DELAYED), raw.hlen(ENTRIES)) == (0, 1, 1)


def test_a_full_memory_refuses_what_is_delayed_and_keeps_nothing_of_it(raw: Raw) -> None:
    """As for what is published now: the caller hears of it. What is kept already still moves."""
    publish("orders", 1, at=datetime(2000, 1, 1, tzinfo=UTC))
    raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(ServerRefused, match="delayed"):
            publish("orders", 2, delay=60)
        assert _promote().moved == 1
    finally:
        raw.config_set("maxmemory", 0)
    assert not raw.exists(DELAYED, ENTRIES)


def test_what_is_published_now_goes_to_its_lane_and_is_delayed_no_more(
    raw: Raw, streams: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Once, however often it is asked for; where its lane isn't declared any more, to the default one."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}}}})
    first, second, kept = (publish("orders", n, lane="high", delay=60) for n in range(3))
    with caplog.at_level(logging.INFO):
        assert waiting.publish_delayed("orders", [first.id, "unknown"], by="ann").done == (first.id,)
    assert "was published by 'ann'" in caplog.text
    assert list(waiting.publish_delayed("orders", [first.id], by="ann").refused) == [first.id]
    assert [fields["id"] for _, fields in raw.xrange("{orders}:lane:high")] == [first.id]
    streams()
    assert waiting.publish_delayed("orders", [second.id], by="ann").done == (second.id,)
    assert [fields["id"] for _, fields in raw.xrange("orders")] == [second.id]
    assert raw.zrange(DELAYED, 0, -1) == raw.hkeys(ENTRIES) == [kept.id]


def test_what_is_discarded_never_is_published(raw: Raw) -> None:
    """It is gone with its entry, and the second who asks is told so."""
    message = publish("orders", 1, delay=0)
    assert waiting.discard_delayed("orders", [message.id], by="ann").done == (message.id,)
    assert list(waiting.discard_delayed("orders", [message.id], by="bob").refused) == [message.id]
    assert _promote().moved == 0
    assert not raw.exists(DELAYED, ENTRIES, "orders")


def test_a_token_without_a_row_is_removed_when_it_is_to_be_published(raw: Raw) -> None:
    """Nothing can be published of it, and it says that it isn't there."""
    raw.zadd(DELAYED, {"lost": 4e12})
    assert list(waiting.publish_delayed("orders", ["lost"], by="ann").refused) == ["lost"]
    assert not raw.exists(DELAYED, "orders")


def test_delayed_messages_are_listed_and_found(raw: Raw, streams: Callable[..., None]) -> None:
    """The next first, as they will be; listing them changes nothing."""
    streams({"orders": {"GROUPS": {"billing": {}}}, "mail": {"FORMAT": "flat"}})
    at = datetime(2100, 1, 1, tzinfo=UTC)
    later = publish("orders", {"n": 1}, type="order.due", at=at)
    sooner = publish("mail", {"n": "1"}, delay=60)
    first, second = inspection.delayed().rows
    assert (first.token, first.message_id, first.stream) == (sooner.id, sooner.id, "mail")
    assert json.loads(first.payload) == {"n": "1"}
    assert (second.token, second.type, second.due, second.group) == (later.id, "order.due", at, "")
    assert inspection.delayed(stream="orders", text="order.due").rows == [second]
    assert inspection.find_delayed("orders", [later.id, sooner.id]) == [second, None]
    assert (raw.zcard(DELAYED), raw.hlen(ENTRIES)) == (1, 1)
