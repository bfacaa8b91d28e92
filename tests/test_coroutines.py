"""`async def` handlers: many messages at once in one consumer, each as safe as if it were alone."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection, transaction

from django_redis_streams.exceptions import NotCommitted
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.signals import message_failed, message_processed

from .support.books import letters, totals
from .support.servers import Server
from .support.states import publish
from .support.waiting import wait_until
from .support.workers import Fleet, Worker, drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
Declare = Callable[..., None]
bill = handler("orders", group="billing")


@pytest.fixture
def group(streams: Declare) -> Declare:
    """Gives the group other settings; a failed message isn't run again."""
    return lambda **settings: streams({"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 0, **settings}}}})


class Gate:
    """Coroutines wait in front of it until a test opens it; `inside` are the numbers of those that wait."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.inside: set[str] = set()
        self.most = 0

    async def wait(self, name: str) -> None:
        """Wait here."""
        self.inside.add(name)
        self.most = max(self.most, len(self.inside))
        try:
            while not self.opened.is_set():  # noqa: ASYNC110  it is opened from another thread
                await asyncio.sleep(0.002)
        finally:
            self.inside.discard(name)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate, open at the end: a worker that ends waits for its coroutines."""
    made = Gate()
    yield made
    made.opened.set()


@contextlib.contextmanager
def working_at(gate: Gate, **options: Any) -> Iterator[Worker]:
    """A worker, before whose end the gate is opened."""
    with working(**options) as worker:
        try:
            yield worker
        finally:
            gate.opened.set()


def numbered(count: int, first: int = 0, **fields: str) -> list[dict[str, str]]:
    """So many messages, told apart by `n`."""
    return [{"n": str(number), **fields} for number in range(first, first + count)]


def acknowledged(raw: Raw) -> int:
    """How many were, so far."""
    return totals(raw).get("acknowledged", 0)


# ---------------------------------------------------------------- how many at once


def test_as_many_run_at_once_as_the_setting_says_and_no_more_is_read(raw: Raw, group: Declare, gate: Gate) -> None:
    """What there is no room for waits in the stream, for any other consumer."""
    group(ASYNC_CONCURRENCY=5)

    @bill
    async def run(message: Message) -> None:
        await gate.wait(message.payload["n"])

    publish(raw, *numbered(30))
    with working_at(gate):
        wait_until(lambda: len(gate.inside) == 5)
        assert raw.xpending("orders", "billing")["pending"] == 5
        gate.opened.set()
        wait_until(lambda: acknowledged(raw) == 30)
    assert gate.most == 5


def test_a_hundred_run_at_once_by_default(raw: Raw, gate: Gate) -> None:
    """However few are read at once."""

    @bill
    async def run(message: Message) -> None:
        await gate.wait(message.payload["n"])

    publish(raw, *numbered(150))
    with working_at(gate):
        wait_until(lambda: len(gate.inside) == 100)
        gate.opened.set()
        wait_until(lambda: acknowledged(raw) == 150)
    assert gate.most == 100


def test_a_slow_one_holds_up_neither_settling_nor_reading(raw: Raw, gate: Gate) -> None:
    """Others that came with it, and after it, are run and acknowledged meanwhile."""

    @bill
    async def run(message: Message) -> None:
        if message.payload["n"] == "0":
            await gate.wait("0")
        await asyncio.sleep(0)

    publish(raw, *numbered(20))
    with working_at(gate):
        wait_until(lambda: acknowledged(raw) == 19)
        for first in (20, 40):
            publish(raw, *numbered(20, first))
            wait_until(lambda first=first: acknowledged(raw) == first + 19)
        assert gate.inside == {"0"}


def test_what_ends_is_settled_while_there_is_no_room(raw: Raw, group: Declare, gate: Gate) -> None:
    """A slot that is free again is taken by the next, and the one before is acknowledged."""
    group(ASYNC_CONCURRENCY=2)

    @bill
    async def run(message: Message) -> None:
        if message.payload["n"] == "0":
            await gate.wait("0")

    publish(raw, *numbered(10))
    with working_at(gate):
        wait_until(lambda: acknowledged(raw) == 9)


def test_functions_and_coroutines_share_a_group(raw: Raw, gate: Gate) -> None:
    """A function runs while coroutines wait."""

    @handler("orders", group="billing", type="later")
    async def run_later(message: Message) -> None:
        await gate.wait(message.payload["n"])

    @bill
    def run(message: Message) -> None: ...

    publish(raw, *numbered(10, type="later"), *numbered(10))
    with working_at(gate):
        wait_until(lambda: acknowledged(raw) == 10)
        publish(raw, *numbered(10))
        wait_until(lambda: acknowledged(raw) == 20)
        assert len(gate.inside) == 10
        gate.opened.set()
        wait_until(lambda: acknowledged(raw) == 30)


def test_what_is_in_flight_stands_on_the_slots(raw: Raw, gate: Gate) -> None:
    """Should the process end, the supervisor reads there what was running; what has ended isn't there."""

    @bill
    async def run(message: Message) -> None:
        if message.payload["n"] != "1":
            await gate.wait(message.payload["n"])

    entries = publish(raw, *numbered(3))
    with working_at(gate) as worker:
        wait_until(lambda: acknowledged(raw) == 1)
        running = {token for token, _ in worker.slots.running()}
        assert running == {f"orders/{entries[0]}", f"orders/{entries[2]}"}
        gate.opened.set()
        wait_until(lambda: acknowledged(raw) == 3)
        assert worker.slots.running() == []


def test_coroutines_run_on_while_the_server_is_away(
    streams: Declare, make_server: Callable[..., Server], gate: Gate
) -> None:
    """A lost connection is no reason to wait, and what ended meanwhile is settled after it."""
    server = make_server()
    streams(URL=server.url)
    ended = threading.Event()

    @bill
    async def run(message: Message) -> None:
        await gate.wait(message.payload["n"])
        await asyncio.sleep(0.01)
        ended.set()

    publish(server.raw(), *numbered(1))
    with working_at(gate):
        wait_until(lambda: gate.inside)
        server.kill9()
        gate.opened.set()
        assert ended.wait(10)
        server.start()
        wait_until(lambda: acknowledged(server.raw()) == 1)


# ---------------------------------------------------------------- how one ends


def leave_by_group() -> None:
    """Raise several at once."""
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


def leave_by(error: BaseException) -> Callable[[], None]:
    """Raise this."""

    def leave() -> None:
        raise error

    return leave


def cancel_itself() -> None:
    """Ask for the end of the own task."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@pytest.mark.parametrize("wait_first", [False, True])
@pytest.mark.parametrize(
    ("leave", "told"),
    [
        (leave_by(ValueError("no")), "ValueError: no"),
        (leave_by_group, "ExceptionGroup: several (2 sub-exceptions)"),
        (leave_by(SystemExit(3)), "SystemExit: 3"),
        (leave_by(KeyboardInterrupt()), "KeyboardInterrupt: "),
        (leave_by(GeneratorExit()), "GeneratorExit: "),
        (leave_by(asyncio.CancelledError()), "CancelledError: "),
        (cancel_itself, "CancelledError: "),
        (lambda: asyncio.get_running_loop().close(), "RuntimeError: Cannot close a running event loop"),
        (
            lambda: asyncio.run(asyncio.sleep(0)),
            "RuntimeError: asyncio.run() cannot be called from a running event loop",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine 'sleep' was never awaited")
def test_whatever_a_coroutine_does_ends_itself_alone(
    raw: Raw, group: Declare, leave: Callable[[], None], told: str, wait_first: bool
) -> None:
    """It is a failure of its message; its neighbours, in flight too, end well, and so does what comes after."""
    group()

    @bill
    async def run(message: Message) -> None:
        if wait_first or message.payload["n"] != "3":
            await asyncio.sleep(0.001)
        if message.payload["n"] == "3":
            leave()
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)

    publish(raw, *numbered(20))
    drain()
    (letter,) = letters(raw)
    assert letter.fields[:2] == ["n", "3"]
    assert letter.metadata["error"] == told
    assert totals(raw) == {"acknowledged": 19, "dead-lettered": 1}


def test_one_that_cancels_all_tasks_fails_its_neighbours_which_run_again(raw: Raw, group: Declare) -> None:
    """A cancelled task can't say by whom, so more isn't promised: nothing is lost, and the consumer goes on."""
    group(MAX_RETRIES=1, BACKOFF=(0.001, 0.001))
    begun: list[str] = []

    @bill
    async def run(message: Message) -> None:
        begun.append(message.payload["n"])
        if message.payload["n"] == "3" and begun.count("3") == 1:
            await asyncio.sleep(0.01)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        elif begun.count(message.payload["n"]) == 1:
            await asyncio.sleep(0.1)

    publish(raw, *numbered(20))
    with working():
        wait_until(lambda: totals(raw).get("acknowledged") == 20)
    assert letters(raw) == []
    assert totals(raw)["retried"] >= 1


def test_the_traceback_begins_in_the_handler(raw: Raw, group: Declare) -> None:
    """The frames of the worker say nothing about it."""
    group()

    @bill
    async def run(message: Message) -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    publish(raw, *numbered(1))
    drain()
    (letter,) = letters(raw)
    lines = letter.metadata["traceback"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f'  File "{__file__}"')


def test_timeouts_within_a_handler_work(raw: Raw, group: Declare) -> None:
    """`asyncio.timeout` ends what it is around, and nothing else, also before the handler has waited for anything."""
    group()
    timed_out: list[str] = []

    @bill
    async def run(message: Message) -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)
        except TimeoutError:
            timed_out.append(message.payload["n"])

    publish(raw, *numbered(5))
    drain()
    assert sorted(timed_out) == list("01234")
    assert totals(raw) == {"acknowledged": 5}


def test_one_that_cancels_all_tasks_harms_nobody_for_good(raw: Raw, group: Declare) -> None:
    """Those that it meets fail, are retried, and end well."""
    group(MAX_RETRIES=5, BACKOFF=(0.001, 0.001))
    runs: Counter[str] = Counter()

    @bill
    async def run(message: Message) -> None:
        runs[message.payload["n"]] += 1
        if message.payload["n"] == "5" and message.attempt == 1:
            for task in asyncio.all_tasks():
                task.cancel()
        await asyncio.sleep(0.001)

    publish(raw, *numbered(10))
    with working():
        wait_until(lambda: acknowledged(raw) == 10)
    assert runs["5"] == 2


def test_a_task_that_is_left_behind_runs_on_and_harms_nobody(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """It runs also while the consumer has nothing to do; where it would end the process, that is logged."""
    left: set[asyncio.Task[None]] = set()
    ran = threading.Event()

    async def linger() -> None:
        await asyncio.sleep(0.05)
        ran.set()
        raise SystemExit(3)

    @bill
    async def run(message: Message) -> None:
        left.add(asyncio.get_running_loop().create_task(linger()))

    publish(raw, *numbered(1))
    with working():
        assert ran.wait(10)
        publish(raw, *numbered(1))
        wait_until(lambda: acknowledged(raw) == 2)
    for task in left:  # or asyncio tells that nobody looked at it
        with contextlib.suppress(SystemExit, asyncio.CancelledError):
            task.result()
    assert "A task that a handler left behind would have ended the worker" in caplog.text


# ---------------------------------------------------------------- batches, marks, signals


def test_a_batch_is_one_call_and_marks_single_ones(raw: Raw) -> None:
    """All are acknowledged when it has ended, but those that it marked."""
    calls: list[int] = []

    @handler("orders", group="billing", batch=True)
    async def run(messages: list[Message]) -> None:
        calls.append(len(messages))
        await asyncio.sleep(0.001)
        for message in messages:
            if message.payload["n"] == "1":
                message.reject("one")

    publish(raw, *numbered(4))
    drain()
    assert calls == [4]
    assert totals(raw) == {"acknowledged": 3, "dead-lettered": 1}


def test_a_batch_that_raises_is_run_one_by_one(raw: Raw, group: Declare) -> None:
    """The guilty one is found; no mark of the call that failed is left."""
    group()
    calls: list[list[str]] = []

    @handler("orders", group="billing", batch=True)
    async def run(messages: list[Message]) -> None:
        calls.append([each.payload["n"] for each in messages])
        if len(messages) > 1:
            messages[0].reject("marked in vain")
        await asyncio.sleep(0)
        if any(each.payload["n"] == "2" for each in messages):
            raise ValueError("two")

    publish(raw, *numbered(4))
    drain()
    assert calls[0] == list("0123")
    assert sorted(calls[1:]) == [["0"], ["1"], ["2"], ["3"]]
    assert totals(raw) == {"acknowledged": 3, "dead-lettered": 1}
    assert letters(raw)[0].metadata["error"] == "ValueError: two"


def test_a_batch_counts_as_its_messages(raw: Raw, group: Declare, gate: Gate) -> None:
    """The bound is one of messages, not of calls."""
    group(ASYNC_CONCURRENCY=3)

    @handler("orders", group="billing", batch=True)
    async def run(messages: list[Message]) -> None:
        await asyncio.gather(*(gate.wait(each.payload["n"]) for each in messages))

    publish(raw, *numbered(9))
    with working_at(gate):
        wait_until(lambda: len(gate.inside) == 3)
        gate.opened.set()
        wait_until(lambda: acknowledged(raw) == 9)
    assert gate.most == 3


def test_those_who_listen_hear_of_each_run(raw: Raw, group: Declare) -> None:
    """With the seconds that the run itself took."""
    group()
    told: list[tuple[str, float]] = []

    def processed(message: Message, duration: float, **_: Any) -> None:
        told.append((message.payload["n"], duration))

    def failed(message: Message, error: BaseException, **_: Any) -> None:
        told.append((f"{message.payload['n']} {error}", 0.0))

    @bill
    async def run(message: Message) -> None:
        await asyncio.sleep(0.02)
        if message.payload["n"] == "1":
            raise ValueError("no")

    message_processed.connect(processed)
    message_failed.connect(failed)
    try:
        publish(raw, *numbered(2))
        drain()
    finally:
        message_processed.disconnect(processed)
        message_failed.disconnect(failed)
    assert {name for name, _ in told} == {"0", "1 no"}
    assert max(duration for _, duration in told) >= 0.02


def test_max_messages_counts_coroutines(raw: Raw, gate: Gate) -> None:
    """No more are begun than were granted, and those end."""
    granted = iter([True] * 3)

    @bill
    async def run(message: Message) -> None:
        await asyncio.sleep(0.001)

    publish(raw, *numbered(10))
    Worker(begin=lambda: next(granted, False)).start().join()
    assert totals(raw) == {"acknowledged": 3}
    assert {each["consumer"] for each in raw.xpending_range("orders", "billing", "-", "+", 10)} <= {"returned"}


# ---------------------------------------------------------------- databases


@pytest.mark.django_db(transaction=True)
def test_the_async_orm_works_and_each_consumer_has_a_thread_for_it(raw: Raw, group: Declare) -> None:
    """Consumers don't wait for each other's queries, nor for asgiref's one thread."""
    group(ASYNC_CONCURRENCY=1)
    threads: dict[str, set[int]] = {}
    both = threading.Barrier(2, timeout=10)

    @bill
    async def run(message: Message) -> None:
        await Group.objects.acreate(name=message.payload["n"])
        consumer = threading.current_thread().name
        threads.setdefault(consumer, set()).add(await sync_to_async(threading.get_ident)())
        if len(threads[consumer]) == 1 and message.payload["n"] in {"0", "1"}:
            await sync_to_async(both.wait)()  # two threads are here at the same time, or none gets on

    with working(name="one"):
        publish(raw, *numbered(1))
        wait_until(lambda: threads)
        with working(name="two"):
            publish(raw, *numbered(1, 1))
            wait_until(lambda: acknowledged(raw) == 2)
            publish(raw, *numbered(40, 2))
            wait_until(lambda: acknowledged(raw) == 42)
    assert Group.objects.count() == 42
    assert all(len(used) == 1 for used in threads.values())
    assert len(set.union(*threads.values())) == len(threads)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_one_leaves_open_swallows_no_other_s_work(raw: Raw, gate: Gate) -> None:
    """It is rolled back when its call has ended, which says so; what others in flight write is there."""

    def leave_open() -> None:
        transaction.atomic().__enter__()
        Group.objects.create(name="left")

    @bill
    async def run(message: Message) -> None:
        if message.payload["n"] == "0":
            with contextlib.suppress(NotCommitted):
                await sync_to_async(leave_open)()
            await gate.wait("0")
        else:
            await Group.objects.acreate(name=message.payload["n"])

    publish(raw, *numbered(1))
    with working_at(gate):
        wait_until(lambda: gate.inside)
        publish(raw, *numbered(5, 1))
        wait_until(lambda: acknowledged(raw) == 5)
        assert sorted(Group.objects.values_list("name", flat=True)) == list("12345")


@pytest.mark.django_db(transaction=True)
def test_connections_of_coroutines_are_closed_while_the_consumer_lives(raw: Raw) -> None:
    """With CONN_MAX_AGE 0, when none is in flight any more."""
    used: list[Any] = []

    @bill
    async def run(message: Message) -> None:
        await Group.objects.acreate(name=message.payload["n"])
        used.append(await sync_to_async(lambda: connection.connection and connection._connections["default"])())

    publish(raw, *numbered(3))
    with working():
        wait_until(lambda: acknowledged(raw) == 3)
        wait_until(lambda: used[-1].connection is None)


def test_without_a_database_no_thread_is_started_for_one(raw: Raw) -> None:
    """A project that has none pays nothing."""
    seen: list[set[str]] = []

    @bill
    async def run(message: Message) -> None:
        await asyncio.sleep(0)
        seen.append({each.name for each in threading.enumerate()})

    publish(raw, *numbered(3))
    drain()
    assert not [name for names in seen for name in names if "databases" in name]


# ---------------------------------------------------------------- stops and crashes


IN_FLIGHT = {"TEST_HANDLERS": "tests.faults.stopping"}


def begun(fleet: Fleet) -> Counter[str]:
    """How often each message was begun."""
    return Counter(message for _, message, *_ in fleet.noted("began"))


def test_a_stop_waits_for_what_is_in_flight(raw: Raw, fleet: Fleet) -> None:
    """Fifty end after the signal, none of them twice."""
    publish(raw, *numbered(50, type="async", do="sleep:1.0"))
    worker = fleet.start(**IN_FLIGHT)
    wait_until(lambda: len(begun(fleet)) == 50)
    os.kill(worker.pid, signal.SIGTERM)
    fleet.finish(worker)
    assert len(fleet.noted("ended")) == acknowledged(raw) == 50
    assert set(begun(fleet).values()) == {1}
    assert raw.xpending("orders", "billing")["pending"] == 0


def test_a_killed_process_s_coroutines_all_run_again(raw: Raw, fleet: Fleet, tmp_path: Path) -> None:
    """Fifty in flight, none of them lost."""
    publish(raw, *numbered(50, type="async", do=f"wait:{tmp_path / 'open'}"))
    worker = fleet.start("--drain", **IN_FLIGHT)
    wait_until(lambda: len(begun(fleet)) == 50)
    (child,) = fleet.children(worker)
    os.kill(child, signal.SIGKILL)
    (tmp_path / "open").touch()
    fleet.finish(worker)
    assert set(begun(fleet).values()) == {2}
    assert len(fleet.noted("ended")) == 50
    assert totals(raw) == {"acknowledged": 50}


def test_a_stop_gives_up_after_the_shutdown_timeout(raw: Raw, fleet: Fleet) -> None:
    """What is still in flight then is handed back, and runs elsewhere."""
    publish(raw, *numbered(5, type="async", do="sleep:600"), *numbered(5, type="async", do="ok"))
    worker = fleet.start("--shutdown-timeout", "0.5", **IN_FLIGHT)
    wait_until(lambda: acknowledged(raw) == 5)
    wait_until(lambda: len(begun(fleet)) == 10)
    os.kill(worker.pid, signal.SIGTERM)
    fleet.finish(worker, code=1)
    pending = raw.xpending_range("orders", "billing", "-", "+", 10)
    assert [each["consumer"] for each in pending] == ["returned"] * 5


# ---------------------------------------------------------------- time-outs


def test_one_that_takes_too_long_is_cancelled_and_has_failed(raw: Raw, group: Declare, gate: Gate) -> None:
    """Its neighbours don't notice, and the dead letter says where it was."""
    group(TIMEOUT=0.1)

    @bill
    async def run(message: Message) -> None:
        if message.payload["n"] == "1":
            await asyncio.sleep(600)

    @handler("orders", group="billing", type="patient", timeout=60)
    async def run_patiently(message: Message) -> None:
        await gate.wait(message.payload["n"])

    publish(raw, *numbered(3), *numbered(1, type="patient"))
    with working_at(gate):
        (letter,) = wait_until(lambda: letters(raw))
        assert letter.fields[:2] == ["n", "1"]
        assert (
            letter.metadata["error"] == "TimeoutError: it ran for longer than its TIMEOUT of 0.1 s, and was cancelled"
        )
        assert "await asyncio.sleep(600)" in letter.metadata["traceback"]
        assert gate.inside == {"0"}
        gate.opened.set()
        wait_until(lambda: acknowledged(raw) == 3)


def test_a_batch_that_takes_too_long_is_run_one_by_one(raw: Raw, group: Declare) -> None:
    """The one that took so long is found."""
    group(TIMEOUT=0.1)

    @handler("orders", group="billing", batch=True)
    async def run(messages: list[Message]) -> None:
        if any(each.payload["n"] == "1" for each in messages):
            await asyncio.sleep(600)

    publish(raw, *numbered(4))
    drain()
    assert totals(raw) == {"acknowledged": 3, "dead-lettered": 1}
    assert letters(raw)[0].metadata["error"].startswith("TimeoutError")


def test_one_that_ignores_its_end_costs_its_process_and_nobody_else(raw: Raw, fleet: Fleet) -> None:
    """The supervisor ends it, and the others run."""
    fleet.streams = {"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 0}}}}
    publish(raw, *numbered(5, type="async", do="ok"), {"type": "stubborn"}, *numbered(5, type="async", do="ok"))
    fleet.drain("--shutdown-timeout", "0.5", **IN_FLIGHT)
    (letter,) = letters(raw)
    assert "stubborn" in letter.fields
    assert letter.metadata["error"].startswith("TimeoutError: it ran for longer than its TIMEOUT of 0.2 s")
    assert totals(raw) == {"acknowledged": 10, "dead-lettered": 1}


def test_time_in_which_the_loop_stands_still_counts_for_nobody(raw: Raw, group: Declare, gate: Gate) -> None:
    """One that doesn't give way for longer than the TIMEOUT of the others: these have what they had left of it."""
    group(TIMEOUT=0.5)

    @bill
    async def run(message: Message) -> None:
        await asyncio.sleep(0.1)
        if message.payload["n"] == "5":
            time.sleep(0.8)  # noqa: ASYNC251  what it shouldn't do
        await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)

    publish(raw, *numbered(10))
    drain()
    assert totals(raw)["acknowledged"] >= 9
    assert [each.fields[:2] for each in letters(raw)] in ([], [["n", "5"]])


def test_what_a_function_of_the_same_consumer_takes_counts_for_nobody(raw: Raw, group: Declare) -> None:
    """A coroutine in flight can't end meanwhile, however often that happens."""
    group(TIMEOUT=0.3, BATCH_SIZE=1)

    @handler("orders", group="billing", type="function", timeout=60)
    def run(message: Message) -> None:
        time.sleep(0.6)

    @bill
    async def run_async(message: Message) -> None:
        for _ in range(8):
            await asyncio.sleep(0.01)

    publish(raw, *numbered(2), *numbered(4, 2, type="function"))
    drain()
    assert totals(raw) == {"acknowledged": 6}


def test_time_in_which_one_waits_for_the_database_thread_does_not_count(raw: Raw, group: Declare) -> None:
    """They take turns in it: each has its TIMEOUT for what it does itself."""
    group(TIMEOUT=2)

    @handler("orders", group="billing", type="slow")
    async def work(message: Message) -> None:
        # Of two calls at once, the second waits for the others too.
        await asyncio.gather(*[sync_to_async(time.sleep)(0.3) for _ in range(2)])

    publish(raw, *[{"type": "slow"}] * 5)
    drain()
    assert totals(raw) == {"acknowledged": 5}


def test_what_gives_up_its_turn_in_the_database_thread_is_not_excused_for_ever(raw: Raw, group: Declare) -> None:
    """What it waits for after that is its own affair."""
    group(TIMEOUT=2)

    @handler("orders", group="billing", type="slow")
    async def hold(message: Message) -> None:
        await sync_to_async(time.sleep)(0.6)

    @handler("orders", group="billing", type="impatient")
    async def give_up(message: Message) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await sync_to_async(time.sleep)(0)
        await asyncio.sleep(600)

    publish(raw, {"type": "slow"}, {"type": "impatient"})
    drain()
    assert totals(raw) == {"acknowledged": 1, "dead-lettered": 1}


@pytest.mark.parametrize("seconds", [0.15, 0.4])
def test_one_that_holds_the_loop_again_and_again_is_cancelled(raw: Raw, group: Declare, seconds: float) -> None:
    """Nobody may excuse himself for ever; where nothing is seen of who held it, that takes some times its TIMEOUT."""
    group(TIMEOUT=0.1)

    @bill
    async def run(message: Message) -> None:
        while True:
            time.sleep(seconds)  # noqa: ASYNC251  as above
            await asyncio.sleep(0)

    publish(raw, *numbered(1))
    drain()
    assert totals(raw) == {"dead-lettered": 1}


def test_a_server_that_stands_still_counts_for_nobody(streams: Declare, make_server: Callable[..., Server]) -> None:
    """A consumer that waits for an answer lets no coroutine get on, so it isn't to blame for that time."""
    server = make_server()
    streams({"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 0, "TIMEOUT": 3}}}}, URL=server.url)
    both = asyncio.Barrier(2)

    @bill
    async def run(message: Message) -> None:
        await both.wait()
        if message.payload["n"] == "0":
            server.pause()
            threading.Timer(4, server.cont).start()
        else:
            await asyncio.sleep(1.5)

    publish(server.raw(), *numbered(2))
    with working():
        wait_until(lambda: totals(server.raw()) == {"acknowledged": 2})
