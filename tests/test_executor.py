"""From a delivery to its outcome, whatever a handler does. No server is asked for anything."""

import asyncio
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.utils import timezone, translation

from django_redis_streams import handlers
from django_redis_streams.conf import GroupConfig, StreamConfig
from django_redis_streams.exceptions import Reject, Retry
from django_redis_streams.handlers import handler
from django_redis_streams.keys import StreamKeys
from django_redis_streams.message import Message
from django_redis_streams.outcomes import HANDLED, Ack, DeadLetter, Outcome, RetryLater
from django_redis_streams.store.consume import delivery as store
from django_redis_streams.store.consume.delivery import Delivery
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.wire import Origin, decode_all
from django_redis_streams.worker.execution.executor import Executor, Permission, Runs
from django_redis_streams.worker.shared.counters import ProcessCounters
from django_redis_streams.worker.shared.scoreboard import Scoreboard, Slots
from django_redis_streams.worker.supervisor.child import Child
from django_redis_streams.worker.supervisor.overdue import gets_on
from testproject.shop.models import Customer

pytestmark = pytest.mark.usefixtures("isolated_handlers")

ORIGIN = Origin(stream="orders", group="billing", key="orders")
STREAM = StreamConfig(name="orders", keys=StreamKeys("orders"))
bill = handler("orders", group="billing")


def deliveries(*entries: list[str]) -> list[Delivery]:
    """Foreign entries, as read from the main stream."""
    return store.deliveries(ORIGIN, "orders", [(f"{number}-0", fields) for number, fields in enumerate(entries, 1)])


def numbered(count: int) -> list[Delivery]:
    """Entries whose field `n` counts them from 1."""
    return deliveries(*(["n", str(number)] for number in range(1, count + 1)))


@pytest.fixture
def execute() -> Iterator[Callable[..., list[Outcome]]]:
    """Runs deliveries; gives their outcomes in the order of the entries."""
    made: list[Executor] = []

    def run(batch: list[Delivery], may_run: Callable[[Delivery], bool] = lambda _: True, **group: Any) -> list[Outcome]:
        if not made:
            place = GroupConfig(name="billing", **group)
            made.append(Executor(handlers.of("orders", "billing"), place, Slots(STREAM, place)))
        executor = made[0]
        runs = Runs([])
        for _ in executor.run(batch, Permission(may_run), runs):
            pass
        assert runs.deliveries == runs.ended
        assert len(runs.deliveries) == len(runs.durations)
        ended = runs.ended
        while executor.coroutines.begin(may_run) or executor.coroutines.busy:
            executor.coroutines.wait(0.05, until_ended=True)
            ended += executor.coroutines.take()[0]
        found = {each.entry_id: each.outcome for each in ended if each.outcome is not None}
        return [found[each.entry_id] for each in batch if each.entry_id in found]

    yield run
    for each in made:
        each.close()


def error_of(outcome: Outcome) -> str:
    """What the outcome tells of the failure."""
    assert isinstance(outcome, RetryLater | DeadLetter)
    return outcome.failure.error


def test_what_returns_is_acknowledged(execute):
    """A handler that returns has handled its message, whatever it returns."""

    @bill
    def run(message: Message) -> bool:
        return False

    assert execute(numbered(1)) == [Ack()]


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError()]
)
def test_whatever_a_handler_raises_is_a_failure_of_its_message(execute, error):
    """Also sys.exit(): the worker lives on, and the message is retried."""

    @bill
    def run(message: Message) -> None:
        raise error

    (outcome,) = execute(numbered(1))
    assert isinstance(outcome, RetryLater)
    assert error_of(outcome).startswith(type(error).__name__)
    assert outcome.failure.handler.endswith("run")


class Mute(Exception):
    """Has no text, in the worst way there is."""

    def __str__(self) -> str:  # noqa: PLE0307  broken on purpose
        sys.exit("no text")


class Numeric(Exception):
    """Has a text that isn't one."""

    def __str__(self) -> Any:
        return 42  # noqa: PLE0307  as above


@pytest.mark.parametrize("error", [Mute("x"), Numeric("x"), Reject(Mute())])
def test_an_error_without_a_text_is_told_by_its_name(execute, error):
    """A broken __str__ doesn't end the worker."""

    @bill
    def run(message: Message) -> None:
        raise error

    (outcome,) = execute(numbered(1))
    assert error_of(outcome) == f"{type(error).__name__}: (its text can't be had)"


def test_the_reason_of_a_reject_may_be_any_object(execute):
    """Reject(404) is told as text."""

    @bill
    def run(message: Message) -> None:
        raise Reject(404)

    (outcome,) = execute(numbered(1))
    assert isinstance(outcome, DeadLetter)
    assert error_of(outcome) == "404"


def fail(message: Message) -> None:
    """Fail."""
    raise RuntimeError("here")


async def fail_later(message: Message) -> None:
    """Fail in an event loop."""
    raise RuntimeError("here")


@pytest.mark.parametrize("function", [fail, fail_later])
def test_the_traceback_begins_at_the_handler(execute, function):
    """What the frames of the worker and its event loop say helps nobody."""
    bill(function)
    (outcome,) = execute(numbered(1))
    assert isinstance(outcome, RetryLater)
    begin, first, *_ = outcome.failure.traceback.splitlines()
    assert begin.startswith("Traceback")
    assert first.endswith(f"in {function.__name__}")


def test_a_long_error_is_cut(execute):
    """A dead letter doesn't grow with what an exception says."""

    @bill
    def run(message: Message) -> None:
        raise RuntimeError("x" * 100_000)

    (outcome,) = execute(numbered(1))
    assert isinstance(outcome, RetryLater)
    assert len(error_of(outcome)) <= 1_000
    assert len(outcome.failure.traceback) <= 8_000


def test_marking_a_message_does_what_raising_does(execute):
    """message.retry() and message.reject() decide, though the handler returns."""

    @bill
    def run(message: Message) -> None:
        if message.payload["n"] == "1":
            message.retry(5)
        else:
            message.reject("no")

    first, second = execute(numbered(2))
    assert isinstance(first, RetryLater)
    assert first.delay == 5
    assert isinstance(second, DeadLetter)
    assert error_of(second) == "no"


def test_retry_on_and_reject_on_choose_by_the_exception(execute):
    """With retry_on any other exception is dead-lettered; reject_on wins over it; Retry is always one."""

    @handler("orders", group="billing", retry_on=(LookupError,), reject_on=(KeyError,))
    def run(message: Message) -> None:
        raise {"1": IndexError(), "2": KeyError(), "3": ValueError(), "4": Retry()}[message.payload["n"]]

    kinds = [type(each) for each in execute(numbered(4))]
    assert kinds == [RetryLater, DeadLetter, DeadLetter, RetryLater]


# ---------------------------------------------------------------- batches


def test_a_batch_handler_gets_all_at_once(execute):
    """One call for all messages that were read together."""
    calls: list[list[str]] = []

    @handler("orders", group="billing", batch=True)
    def run(messages: list[Message]) -> None:
        calls.append([each.payload["n"] for each in messages])

    assert execute(numbered(3)) == [Ack(), Ack(), Ack()]
    assert calls == [["1", "2", "3"]]


def test_a_batch_is_never_larger_than_batch_size(execute):
    """What was read beyond it, because retries came due, is a batch of its own."""
    calls: list[int] = []
    handler("orders", group="billing", batch=True)(lambda messages: calls.append(len(messages)))
    assert execute(numbered(5), batch_size=2) == [Ack()] * 5
    assert calls == [2, 2, 1]


def test_a_batch_that_raises_is_run_one_by_one(execute):
    """Only the guilty message is retried."""
    calls: list[list[str]] = []

    @handler("orders", group="billing", batch=True)
    def run(messages: list[Message]) -> None:
        calls.append([each.payload["n"] for each in messages])
        if "2" in calls[-1]:
            raise RuntimeError("two")

    first, second, third = execute(numbered(3))
    assert calls == [["1", "2", "3"], ["1"], ["2"], ["3"]]
    assert (first, third) == (Ack(), Ack())
    assert error_of(second) == "RuntimeError: two"


def test_what_a_failed_batch_did_to_its_messages_is_forgotten(execute):
    """Marks and changes of the call that raised don't reach the calls one by one."""
    seen: list[Any] = []

    @handler("orders", group="billing", batch=True)
    def run(messages: list[Message]) -> None:
        seen.extend(dict(each.payload) for each in messages)
        for each in messages:
            each.payload.clear()
        if len(messages) > 1:
            messages[0].reject("of the batch")
            raise RuntimeError("all")

    assert execute(numbered(2)) == [Ack(), Ack()]
    assert seen == [{"n": "1"}, {"n": "2"}] * 2


def test_a_message_of_a_batch_may_be_marked(execute):
    """One of a batch is rejected, the others are acknowledged."""

    @handler("orders", group="billing", batch=True)
    def run(messages: list[Message]) -> None:
        messages[1].reject("this one")

    first, second, third = execute(numbered(3))
    assert (first, third) == (Ack(), Ack())
    assert error_of(second) == "this one"


@pytest.mark.parametrize("batch", [False, True])
def test_each_message_is_asked_for_once(execute, batch):
    """Whether a message may begin is asked exactly once, or a limit of messages would count it twice."""
    asked: list[str] = []

    @handler("orders", group="billing", batch=batch)
    def run(messages: Any) -> None:
        """Handle it."""

    def may_run(delivery: Delivery) -> bool:
        asked.append(delivery.entry_id)
        return delivery.entry_id != "2-0"

    assert execute(numbered(3), may_run) == [Ack(), Ack()]
    assert asked == ["1-0", "2-0", "3-0"]


# ---------------------------------------------------------------- coroutines


def test_an_async_handler_is_awaited(execute):
    """It is handled when the coroutine has ended, not when it was made."""
    done: list[str] = []

    @bill
    async def run(message: Message) -> None:
        await asyncio.sleep(0)
        done.append(message.payload["n"])
        if message.payload["n"] == "2":
            raise Reject("two")

    first, second = execute(numbered(2))
    assert done == ["1", "2"]
    assert first == Ack()
    assert error_of(second) == "two"


def test_a_coroutine_from_a_plain_function_is_awaited_too(execute):
    """A decorator that hides `async def` doesn't make a message handled that nobody handled."""
    done: list[str] = []

    def traced(function: Any) -> Any:
        @wraps(function)
        def call(message: Message) -> Any:
            return function(message)

        return call

    @bill
    @traced
    async def run(message: Message) -> None:
        done.append(message.payload["n"])

    assert execute(numbered(1)) == [Ack()]
    assert done == ["1"]


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError()])
def test_a_coroutine_that_ends_the_loop_ends_only_itself(execute, error):
    """The next message finds a loop that runs."""

    @bill
    async def run(message: Message) -> None:
        await asyncio.sleep(0)
        if message.payload["n"] == "1":
            raise error

    first, second = execute(numbered(2))
    assert isinstance(first, RetryLater)
    assert second == Ack()


def test_what_is_in_hand_beyond_the_bound_waits_for_its_turn(execute):
    """However many were claimed or read ahead, no more run at once than ASYNC_CONCURRENCY says."""
    running: set[str] = set()
    most: list[int] = []

    @bill
    async def run(message: Message) -> None:
        running.add(message.payload["n"])
        most.append(len(running))
        await asyncio.sleep(0.001)
        running.remove(message.payload["n"])

    assert execute(numbered(20), async_concurrency=3) == [Ack()] * 20
    assert max(most) == 3


def test_a_batch_that_is_larger_than_the_bound_runs_alone(execute):
    """It isn't torn apart, and nothing runs beside it."""
    running: list[int] = []
    calls: list[tuple[int, int]] = []

    @handler("orders", group="billing", batch=True)
    async def run(messages: list[Message]) -> None:
        calls.append((len(messages), len(running)))
        running.append(1)
        await asyncio.sleep(0.001)
        running.pop()

    assert execute(numbered(10), async_concurrency=3, batch_size=5) == [Ack()] * 10
    assert calls == [(5, 0), (5, 0)]


def test_context_variables_do_not_pass_from_one_coroutine_to_the_next(execute):
    """What one message sets, the next doesn't find."""
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    found: list[str] = []

    @bill
    async def run(message: Message) -> None:
        found.append(variable.get())
        variable.set("set")

    execute(numbered(2))
    assert found == ["unset", "unset"]


# ---------------------------------------------------------------- what reaches no handler


def test_a_message_without_a_handler_is_dead_lettered(execute):
    """Its type is named."""

    @handler("orders", group="billing", type="known")
    def run(message: Message) -> None:
        """Handle it."""

    known, unknown = execute(deliveries(["type", "known"], ["type", "other"]))
    assert known == Ack()
    assert isinstance(unknown, DeadLetter)
    assert unknown.reason == "no handler"
    assert "'other'" in error_of(unknown)


def test_a_message_without_a_handler_is_skipped_where_the_group_says_so(execute):
    """UNMATCHED "skip" acknowledges it, counted as skipped."""

    @handler("orders", group="billing", type="known")
    def run(message: Message) -> None:
        """Handle it."""

    assert execute(deliveries(["type", "other"]), unmatched="skip") == [Ack(skipped=True)]


def test_an_envelope_that_is_none_is_dead_lettered_as_invalid(execute):
    """No handler sees it, and the worker lives on."""
    seen: list[Message] = []
    bill(seen.append)
    identity = "01940000-0000-7000-8000-000000000000"
    (outcome,) = execute(deliveries(["id", identity, "data", "{"]))
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == "invalid"
    assert not seen


# ---------------------------------------------------------------- transactions


@pytest.mark.django_db(transaction=True)
def test_an_atomic_handler_that_raises_leaves_nothing_in_the_database(execute):
    """What it wrote is rolled back; what a handler that returned wrote is there."""

    @handler("orders", group="billing", atomic=True)
    def run(message: Message) -> None:
        Group.objects.create(name=message.payload["n"])
        if message.payload["n"] == "1":
            raise RuntimeError("no")

    first, second = execute(numbered(2))
    assert isinstance(first, RetryLater)
    assert second == Ack()
    assert [each.name for each in Group.objects.all()] == ["2"]


@pytest.mark.django_db(transaction=True)
def test_an_atomic_batch_is_one_transaction(execute):
    """Where it raises, nothing of it stays, and each is run in a transaction of its own."""

    @handler("orders", group="billing", batch=True, atomic=True)
    def run(messages: list[Message]) -> None:
        for each in messages:
            Group.objects.create(name=each.payload["n"])
        if messages[-1].payload["n"] == "3":
            raise RuntimeError("no")

    execute(numbered(3))
    assert sorted(each.name for each in Group.objects.all()) == ["1", "2"]
    assert not connection.in_atomic_block


@pytest.mark.parametrize("batch_size", [100, 2])
def test_what_runs_stands_on_the_slots_while_it_runs(batch_size):
    """Also where more is to be run than there are slots; and nothing stands there before or after it."""
    seen: list[list[str]] = []
    group = GroupConfig(name="billing", batch_size=batch_size)
    slots = Slots(STREAM, group)

    @bill
    def run(message: Message) -> None:
        seen.append([token for token, _ in slots.running()])
        if message.payload["n"] == "2":
            raise SystemExit

    with closing(Executor(handlers.of("orders", "billing"), group, slots)) as executor:
        for _ in executor.run(numbered(5), Permission(lambda _: True), Runs([])):
            assert slots.running() == []
        assert slots.running() == []
    assert seen == [[f"orders/{number}-0"] for number in range(1, 6)]


def test_each_of_a_batch_stands_on_the_slots_with_the_stream_that_it_was_read_from():
    """One consumer reads several, and one batch may hold entries of each; the batch before may have been longer."""
    seen: list[str] = []
    slots = Slots(STREAM, group := GroupConfig(name="billing"))
    redelivery, main = "{orders}:redelivery:billing", ORIGIN.key
    both = [
        *store.deliveries(ORIGIN, redelivery, [("1-0", ["n", "1"])]),
        *store.deliveries(ORIGIN, main, [("1-0", ["n", "1"]), ("2-0", ["n", "2"])]),
    ]

    @bill
    def run(_: Message) -> None:
        seen.extend(token for token, _ in slots.running())

    with closing(Executor(handlers.of("orders", "billing"), group, slots)) as executor:
        for batch in (numbered(9), both, both[1:], both[:1]):
            seen.clear()
            assert not list(executor.run(batch, Permission(lambda _: True), Runs([])))
            assert seen == [each.token for each in batch]


def test_a_batch_stands_on_the_slots_as_a_whole_and_then_one_by_one():
    """All of it runs in the call for all; the call for each, where that raised, is of one."""
    seen: list[list[str]] = []
    group = GroupConfig(name="billing")
    slots = Slots(STREAM, group)

    @handler("orders", group="billing", batch=True)
    def run(messages: list[Message]) -> None:
        seen.append([token for token, _ in slots.running()])
        raise RuntimeError

    with closing(Executor(handlers.of("orders", "billing"), group, slots)) as executor:
        assert not list(executor.run(numbered(2), Permission(lambda _: True), runs := Runs([])))
        assert len(runs.ended) == 2
    assert seen == [["orders/1-0", "orders/2-0"], ["orders/1-0"], ["orders/2-0"]]
    assert slots.running() == []


@pytest.mark.parametrize("batch", [False, True])
def test_a_timeout_begins_with_the_run(monkeypatch: pytest.MonkeyPatch, batch: bool) -> None:
    """However long the messages took to decode."""
    decoded: list[float] = []
    deadlines: list[float] = []
    group = GroupConfig(name="billing", timeout=10.0)
    slots = Slots(STREAM, group)

    def decode_slowly(entries: list[Delivery]) -> Any:
        messages, until = decode_all(entries), time.monotonic() + 0.01
        while time.monotonic() < until:
            pass
        decoded.append(time.monotonic())
        return messages

    @handler("orders", group="billing", batch=batch)
    def run(_: Any) -> None:
        deadlines.extend(deadline for _, deadline in slots.running())

    monkeypatch.setattr("django_redis_streams.worker.execution.executor.decode_all", decode_slowly)
    with closing(Executor(handlers.of("orders", "billing"), group, slots)) as executor:
        assert not list(executor.run(numbered(2), Permission(lambda _: True), Runs([])))
    assert len(deadlines) == 2
    assert min(deadlines) >= decoded[0] + 10.0


def test_the_time_of_a_batch_is_told_once() -> None:
    """By the first of it: what counts as the longest run is the call."""

    @handler("orders", group="billing", batch=True)
    def run(messages: list[Message]) -> None:
        messages[-1].reject()

    group = GroupConfig(name="billing")
    with closing(Executor(handlers.of("orders", "billing"), group, Slots(STREAM, group))) as executor:
        assert not list(executor.run(numbered(3), Permission(lambda _: True), runs := Runs([])))
    assert runs.durations[0] > 0
    assert runs.durations[1:] == [0.0, 0.0]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_decoded_stands_on_the_slots_meanwhile(monkeypatch: pytest.MonkeyPatch, is_async: bool) -> None:
    """With the group's TIMEOUT from then on; whoever is going to handle it. Afterwards nothing does."""
    slots = Slots(STREAM, group := GroupConfig(name="billing", timeout=10.0, batch_size=2))
    seen: list[tuple[list[str], float]] = []

    def decode_seen(entries: list[Delivery]) -> Any:
        assert slots.decoding is not None
        decoded, deadline = slots.decoding
        seen.append((slots.names(decoded), deadline - time.monotonic()))
        return decode_all(entries)

    async def run_later(_: Message) -> None: ...

    bill(run_later if is_async else lambda _: None)
    monkeypatch.setattr("django_redis_streams.worker.execution.executor.decode_all", decode_seen)
    with closing(Executor(handlers.of("orders", "billing"), group, slots)) as executor:
        assert not list(executor.run(numbered(3), Permission(lambda _: True), Runs([])))
    assert [names for names, _ in seen] == [["orders/1-0", "orders/2-0"], ["orders/3-0"]]
    assert all(5 < left <= 10 for _, left in seen)
    assert slots.decoding is None


def test_a_consumer_rests_where_nothing_runs_nothing_is_decoded_and_no_thread_is_held_up() -> None:
    """The supervisor looks closer at those that don't; and at those that haven't got on for a minute."""
    slots = Slots(STREAM, GroupConfig(name="billing", async_concurrency=300))
    marks: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (partial(slots.run, [slot], math.inf), partial(slots.run, [slot], 0.0))
        for slot in (0, slots.coroutine_slots[0], slots.coroutine_slots[-1])
    ]
    marks.append((partial(slots.decode, 1, 5.0), slots.decoded))
    marks.append((partial(slots.note_threads, 0), partial(slots.note_threads, None)))
    slots.get_on(100.0)
    slots.turn(100.0)
    slots.settle(3)
    slots.note([], 100.0)
    slots.leave()
    for begin, end in marks:
        assert slots.rests
        begin()
        assert not slots.rests
        assert not gets_on(slots, 100.0)
        end()
    assert gets_on(slots, 159.0)
    assert not gets_on(slots, 161.0)


@pytest.mark.parametrize("timeout", [0.5, 5.0, None])
def test_what_begins_right_after_an_idle_look_is_overdue_no_later_than_otherwise(timeout: float | None) -> None:
    """Meanwhile the supervisor doesn't look at all: hundreds of consumers idle mostly."""
    group = GroupConfig(name="billing", timeout=timeout)
    consumers = [Membership(STREAM, group, f"c-{n}") for n in range(2)]
    board, counters = Scoreboard([(STREAM, group)] * 2), ProcessCounters([(STREAM, group)] * 2)
    child = Child(1, consumers, board, counters)
    began = time.monotonic()
    for each in board.slots:
        each.get_on(began)
    assert not child.problem(began)
    limit = 30.0 if timeout is None else timeout
    board.slots[1].name_batch(numbered(1))
    board.slots[1].run([0], began + limit)
    assert not child.problem(began + limit - 0.01)
    board._times[0] = began + limit + 0.1  # its main thread gets on
    assert "beyond its TIMEOUT" in child.problem(began + limit + 0.1)


MARK: ContextVar[str] = ContextVar("MARK", default="none")


@pytest.mark.parametrize("kind", ["function", "batch", "coroutine", "batch of coroutines"])
def test_no_message_finds_the_state_of_the_one_before(execute: Any, kind: str) -> None:
    """Language, time zone and context variables are as the worker began: as for a request."""
    seen: list[tuple[str, ...]] = []

    def leave_state(_: Any) -> None:
        seen.append((translation.get_language(), timezone.get_current_timezone_name(), MARK.get()))
        translation.activate("de")
        timezone.activate(ZoneInfo("Asia/Tokyo"))
        MARK.set("left")

    async def leave_state_later(argument: Any) -> None:
        leave_state(argument)
        await asyncio.sleep(0)

    handler("orders", group="billing", batch="batch" in kind)(leave_state_later if "coroutine" in kind else leave_state)
    begin = (translation.get_language(), timezone.get_current_timezone_name(), "none")
    for _ in range(2):
        assert set(execute(numbered(2))) == {HANDLED}
    assert set(seen) == {begin}
    assert (translation.get_language(), timezone.get_current_timezone_name(), MARK.get()) == begin


@pytest.mark.django_db(transaction=True)
def test_the_queries_of_debug_are_forgotten(settings: Any) -> None:
    """They would fill the memory of a worker; each batch begins without them."""
    settings.DEBUG = True
    counts: list[int] = []

    @handler("orders", group="billing")
    def run(_: Any) -> None:
        for _ in range(3):
            Customer.objects.exists()
        counts.append(len(connection.queries))

    group = GroupConfig(name="billing")
    with closing(Executor(handlers.of("orders", "billing"), group, Slots(STREAM, group))) as executor:
        for _ in range(4):
            assert not list(executor.run(numbered(1), Permission(lambda _: True), Runs([])))
    assert set(counts) == {3}


@pytest.mark.parametrize("batch", [False, True])
def test_a_look_at_the_databases_counts_against_the_timeout(monkeypatch: pytest.MonkeyPatch, batch: bool) -> None:
    """A connection whose other end is gone may let it wait for long: the message that it is for stands on the slots."""
    slots = Slots(STREAM, group := GroupConfig(name="billing"))
    seen: list[int] = []

    @handler("orders", group="billing", batch=batch)
    def run(_: Any) -> None: ...

    with closing(Executor(handlers.of("orders", "billing"), group, slots)) as executor:
        executor._databases.any_open = True
        monkeypatch.setattr(executor._databases, "before_message", lambda: seen.append(len(slots.running())))
        assert not list(executor.run(numbered(1), Permission(lambda _: True), Runs([])))
    assert seen == [1]
