"""What handlers fork and start does none of the worker's work, and hears signals as any process does."""

import asyncio
import os
import sys
from collections import Counter
from typing import Any

import pytest

from django_redis_streams import handlers, signals
from django_redis_streams.message import Message
from django_redis_streams.testing import drain

from .support.books import books, totals
from .support.waiting import wait_until
from .support.workers import Fleet, Worker

Raw = Any
# Without the relay, which looks for its table when the process begins: a child that is forked while a thread uses
# SQLite may wait for ever when it uses that itself, as coverage does at its end.
WITHOUT_SQLITE = {"TEST_WITHOUT_OUTBOX": "1"}
HANDLERS = {"TEST_HANDLERS": "tests.support.forking_handlers", **WITHOUT_SQLITE}
AFTERWARDS = 20
# In seconds. Under coverage each fork begins to measure anew, and each end of one saves again what all above it have
# measured: that takes long on a busy machine.
PATIENCE = 150
pytestmark = pytest.mark.timeout(2 * PATIENCE)


def publish(raw: Raw, type_: str, **fields: str) -> None:
    """A message for a handler that forks."""
    raw.xadd("orders", {"type": type_, "do": "nothing", **fields})


# ---------------------------------------------------------------- no second worker


FORKING = (
    "fork",
    "fork-atomic",
    "fork-batch",
    "fork-async",
    "fork-async-batch",
    "fork-in-database-thread",
    "fork-in-receiver",
)
# Their ways are those of others: of a function, and of coroutines and batches.
SELDOM = ("fork-atomic", "fork-async-batch")
CODES = {"return": 0, "exit": 3, "raise": 1}


@pytest.mark.parametrize(
    ("type_", "do"),
    [
        ("fork", "raise"),
        ("fork", "return"),
        *((each, "exit") for each in FORKING if each not in SELDOM),
        *(pytest.param(each, "exit", marks=pytest.mark.slow) for each in SELDOM),
    ],
)
def test_a_child_that_leaves_the_handler_ends(raw: Raw, fleet: Fleet, type_: str, do: str) -> None:
    """By the exit code of a process that ends so, having run and settled nothing: all is handled once, by the worker.

    What it printed is there; what it raised is told.
    """
    publish(raw, type_, do=do)
    for _ in range(AFTERWARDS):
        raw.xadd("orders", {"do": "ok"})
    worker = fleet.start("--processes", "1", **HANDLERS)
    wait_until(lambda: totals(raw) == {"acknowledged": AFTERWARDS + 1}, deadline=PATIENCE)
    worker.terminate()
    said = fleet.finish(worker, PATIENCE)
    assert [words[0] for words in fleet.noted("forked")] == [str(CODES[do])]
    assert set(Counter(words[1] for words in fleet.noted("ended")).values()) == {1}
    assert len({words[-1] for words in fleet.noted("began")}) == 1
    assert said.count("said in the child") == (do == "return")
    assert said.count("LookupError: in the child") == (do == "raise")
    assert {each["name"] for each in raw.xinfo_consumers("orders", "billing")} <= {"returned"}
    assert books(raw).all == AFTERWARDS + 1


def test_a_child_of_forkpty_is_no_second_worker_either(raw: Raw, fleet: Fleet) -> None:
    """It is a fork like any other."""
    publish(raw, "fork", how="forkpty", do="exit")
    fleet.drain(deadline=PATIENCE, **HANDLERS)
    assert [words[0] for words in fleet.noted("forked")] == ["3"]
    assert totals(raw) == {"acknowledged": 1}


def test_a_child_that_a_thread_of_the_handler_forks_ends_with_that(raw: Raw, fleet: Fleet) -> None:
    """It has no other thread to go on in."""
    publish(raw, "fork-in-thread", do="return")
    fleet.drain(deadline=PATIENCE, **HANDLERS)
    assert [words[0] for words in fleet.noted("forked")] == ["0"]
    assert totals(raw) == {"acknowledged": 1}


@pytest.mark.parametrize(("seconds", "told"), [("0", "has no event loop"), ("0.05", "no running event loop")])
def test_a_child_that_waits_in_a_coroutine_ends_there(raw: Raw, fleet: Fleet, seconds: str, told: str) -> None:
    """The event loop is the worker's: going on in it, the child would run the other coroutines too."""
    publish(raw, "fork-async", do=f"wait:{seconds}")
    for _ in range(AFTERWARDS):
        publish(raw, "async", do="sleep:0.01")
    said = fleet.drain(
        deadline=PATIENCE, TEST_HANDLERS="tests.support.forking_handlers tests.faults.stopping", **WITHOUT_SQLITE
    )
    assert [words[0] for words in fleet.noted("forked")] == ["1"]
    assert not fleet.noted("waited")
    assert told in said
    assert totals(raw) == {"acknowledged": AFTERWARDS + 1}
    assert set(Counter(words[1] for words in fleet.noted("ended")).values()) == {1}


def ended(pid: int) -> int:
    """How a child has ended, as the kernel tells it."""
    return wait_until(lambda: (found := os.waitpid(pid, os.WNOHANG))[0] and found, deadline=PATIENCE)[1]


@pytest.mark.usefixtures("isolated_handlers", "streams")
@pytest.mark.parametrize("kind", ["function", "batch", "coroutine", "receiver"])
def test_a_child_writes_nothing_on_its_parent_s_board(raw: Raw, kind: str) -> None:
    """When it has ended, the parent still runs what it was running, and has settled nothing but that in the end."""
    seen: list[Any] = []

    def look(*_: Any, **__: Any) -> None:
        pid = os.fork()
        if pid:
            code = os.waitstatus_to_exitcode(ended(pid))
            seen.append((code, len(worker.slots.running()), worker.slots.settled))

    async def look_in_loop(message: Any) -> None:
        look(message)

    functions = {"coroutine": look_in_loop, "receiver": lambda _: None}
    handlers.handler("orders", group="billing", batch=kind == "batch")(functions.get(kind, look))
    if kind == "receiver":
        signals.message_processed.connect(look)
    raw.xadd("orders", {"n": 1})
    worker = Worker(drain=True, on_settled=lambda count: worker.slots.settle(count))  # noqa: PLW0108  it is made here
    try:
        worker.start().join()
    finally:
        signals.message_processed.disconnect(look)
    assert seen == [(0, int(kind != "receiver"), 0)]
    assert worker.slots.running() == []
    assert worker.slots.settled == worker.runner.counters.read().counts[0] == 1
    assert totals(raw) == {"acknowledged": 1}


def test_a_child_that_is_forked_in_a_test_settles_nothing_either(raw: Raw, streams: Any, capfd: Any) -> None:
    """`drain` runs handlers in the test's own process: a child of one ends with the handler, too."""
    codes = []

    def run(message: Message) -> None:
        pid = os.fork()
        if not pid:
            sys.exit(3)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    with handlers.isolated():
        handlers.handler("orders", group="billing")(run)
        for n in range(3):
            raw.xadd("orders", {"n": n})
        assert drain("orders:billing").acknowledged == 3
    assert codes == [3, 3, 3]
    assert totals(raw) == {"acknowledged": 3}


def test_a_child_may_itself_drain_a_stream(raw: Raw, streams: Any) -> None:
    """That is its own work, and not its parent's; when that is done, it ends where its handler ends."""
    codes = []

    def run(message: Message) -> None:
        pid = os.fork()
        if not pid:
            sys.exit(drain("orders:loyalty").acknowledged)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    with handlers.isolated():
        handlers.handler("orders", group="billing")(run)
        handlers.handler("orders", group="loyalty")(lambda _: None)
        raw.xadd("orders", {"n": 1})
        raw.xadd("orders", {"n": 2})
        assert drain("orders:billing").acknowledged == 2
    assert codes == [2, 0]
    assert totals(raw) == totals(raw, "loyalty") == {"acknowledged": 2}


@pytest.mark.usefixtures("isolated_handlers", "streams")
def test_no_other_coroutine_has_a_turn_in_a_child(raw: Raw) -> None:
    """Those that are ready when one forks go on in the parent alone, and so does nothing of the child after a wait."""
    statuses: list[int] = []
    parent, (reading, writing) = os.getpid(), os.pipe()

    async def run(message: Message) -> None:
        await asyncio.sleep(0)
        if message.payload["n"] == "0":
            if pid := os.fork():
                statuses.append(ended(pid))
                return
            await asyncio.sleep(0)
            os.write(writing, b"waited ")
        elif os.getpid() != parent:
            os.write(writing, b"turned ")

    handlers.handler("orders", group="billing")(run)
    for n in range(5):
        raw.xadd("orders", {"n": n})
    Worker(drain=True).start().join()
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.read() == ""
    assert [os.waitstatus_to_exitcode(each) for each in statuses] == [1]
    assert totals(raw) == {"acknowledged": 5}


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize(("type_", "noted"), [("terminate", "ended-by -15"), ("interrupt", "ended-by -2")])
def test_what_a_handler_starts_can_be_signalled(raw: Raw, fleet: Fleet, type_: str, noted: str) -> None:
    """A child of multiprocessing by terminate(), a program by SIGINT."""
    publish(raw, type_)
    fleet.drain(deadline=PATIENCE, **HANDLERS)
    assert len(fleet.noted(noted)) == 1
    assert totals(raw) == {"acknowledged": 1}


def test_a_forked_child_has_the_signals_of_a_program_that_just_began(raw: Raw, fleet: Fleet) -> None:
    """The usual handlers, none blocked, and no wakeup fd."""
    publish(raw, "state")
    fleet.drain(deadline=PATIENCE, **HANDLERS)
    assert [words[:3] for words in fleet.noted("state")] == [["True", "True", "-1"]]


def test_pools_of_processes_come_and_go(raw: Raw, fleet: Fleet) -> None:
    """One after another, none of them hangs at its end."""
    for _ in range(20):
        publish(raw, "pool")
    fleet.drain(deadline=PATIENCE, **HANDLERS)
    assert totals(raw) == {"acknowledged": 20}
    assert len(fleet.noted("ended")) == 20
