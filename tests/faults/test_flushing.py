"""The heartbeat settles handled messages while the next handler runs; and what may go wrong with that."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from django_redis_streams import connections, signals
from django_redis_streams.exceptions import Reject
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.worker.consumer import settling
from django_redis_streams.worker.consumer.unsettled import Unsettled

from ..support.books import letters, totals
from ..support.waiting import wait_until
from ..support.workers import Worker, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams", "hasty")

Raw = Any
FAST, SLOW = "fast", "slow"


class Run:
    """A batch of fast messages and then a slow one, which runs until `finish` is set."""

    def __init__(self, raw: Raw) -> None:
        self.finish = threading.Event()
        self.runs: Counter[str] = Counter()
        self.settled: list[int] = []
        for _ in range(3):
            raw.xadd("orders", {"n": FAST})
        raw.xadd("orders", {"n": SLOW})
        handler("orders", group="billing")(self.handle)

    def handle(self, message: Message) -> None:
        """Count the run; a slow message waits for `finish`."""
        self.runs[message.payload["n"]] += 1
        if message.payload["n"] == SLOW:
            assert self.finish.wait(20)

    @property
    def right(self) -> bool:
        """Whether each message was run once and settled once."""
        return self.runs == {FAST: 3, SLOW: 1} and sum(self.settled) == 4


@pytest.fixture
def run(raw: Raw) -> Iterator[Run]:
    """Return a run whose messages wait on the server for a worker."""
    made = Run(raw)
    yield made
    made.finish.set()


@pytest.fixture
def flushing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], list[int]]:
    """Return a function that has its argument called once, before a flush of the heartbeat ends.

    Its result is a list, which is empty until that call.
    """
    done: list[int] = []

    def when_flushed(do: Callable[[], None]) -> list[int]:
        flush = Unsettled.flush

        def flushed(self: Unsettled, now: float, exchange: Callable[[Sequence[Any]], Sequence[object]]) -> None:
            def exchanged(commands: Sequence[Any]) -> Sequence[object]:
                replies = exchange(commands)
                if not done:
                    done.append(len(commands))
                    do()
                return replies

            flush(self, now, exchanged)

        monkeypatch.setattr(Unsettled, "flush", flushed)
        return done

    return when_flushed


def test_what_was_handled_is_settled_while_the_next_of_its_batch_runs(raw: Raw, run: Run) -> None:
    """A slow message delays no acknowledgement of fast ones: if the worker died now, none of these would run again."""
    with working(on_settled=run.settled.append):
        wait_until(lambda: totals(raw) == {"acknowledged": 3})
        assert run.runs[SLOW] == 1
        run.finish.set()
        wait_until(lambda: run.right)
    assert totals(raw) == {"acknowledged": 4}


def test_a_failure_is_settled_so_too_and_told_at_once(raw: Raw) -> None:
    """In a thread of its own: the handler may never return, and a receiver that hangs must not stop the heartbeat."""
    finish, heard = threading.Event(), []

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        if message.payload["n"] == FAST:
            raise Reject("told to")
        assert finish.wait(20)

    def listen(**_: Any) -> None:
        heard.append(threading.current_thread())

    raw.xadd("orders", {"n": FAST})
    raw.xadd("orders", {"n": SLOW})
    signals.message_dead_lettered.connect(listen)
    try:
        with working() as worker:
            wait_until(lambda: heard)
            assert not finish.is_set()
            assert len(letters(raw)) == 1
            finish.set()
    finally:
        finish.set()
        signals.message_dead_lettered.disconnect(listen)
    (teller,) = heard
    assert teller not in worker.threads


def test_a_flush_whose_reply_is_lost_is_sent_again_and_counted_once(raw: Raw, run: Run, flushing: Any) -> None:
    """The heartbeat or the consumer sends it again, whichever settles next."""

    def lose() -> None:
        raise connections.get("default")._endpoint.unreachable("its reply was lost")

    lost = flushing(lose)
    with working(on_settled=run.settled.append):
        wait_until(lambda: lost)
        run.finish.set()
        wait_until(lambda: run.right)
    assert totals(raw) == {"acknowledged": 4}


@pytest.mark.parametrize("lost", [False, True])
def test_a_flush_while_the_consumer_connects_again_loses_and_doubles_nothing(
    raw: Raw, run: Run, flushing: Any, lost: bool
) -> None:
    """Once the flush has ended, with or without its reply, the consumer sends the unanswered outcomes again."""
    worker = Worker(on_settled=run.settled.append)

    def reconnect() -> None:
        assert worker.runner.connection._client is not None
        raw.client_kill_filter(_id=worker.runner.connection._client.id)
        run.finish.set()
        wait_until(lambda: worker.runner.unsettled.ready)
        if lost:
            raise connections.get("default")._endpoint.unreachable("its reply was lost")

    flushed = flushing(reconnect)
    worker.start()
    try:
        wait_until(lambda: run.right)
    finally:
        worker.end()
    assert flushed
    assert run.right
    assert totals(raw) == {"acknowledged": 4}
    assert len(worker.runner.unsettled) == len(worker.runner.unacked) == 0


def test_a_consumer_that_ends_while_its_teller_is_started_waits_for_it(
    raw: Raw, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread can't be waited for before it was started, and what it has taken mustn't end with the process."""
    worker = Worker(on_settled=run.settled.append)
    ends, waits = threading.Event(), threading.Event()
    log_due = settling.refusals.log_due

    def noted_log_due(*, now: bool = False) -> None:
        log_due(now=now)
        if now:
            ends.set()

    class Teller(threading.Thread):
        def start(self) -> None:
            worker.stop.set()
            run.finish.set()
            assert ends.wait(20)
            waits.wait(0.2)  # it mustn't come
            super().start()

        def join(self, timeout: float | None = None) -> None:
            waits.set()
            super().join(timeout)

    monkeypatch.setattr(settling.refusals, "log_due", noted_log_due)
    monkeypatch.setattr(settling, "threading", SimpleNamespace(Thread=Teller, Lock=threading.Lock))
    worker.start()
    wait_until(ends.is_set)
    worker.end()
    assert run.right
    assert totals(raw) == {"acknowledged": 4}
