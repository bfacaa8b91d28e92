"""A worker with much to do is stopped at any moment: nothing is lost, nothing is run twice.

The moments are drawn at random, as counts of handled messages. A failed test prints its seed, and
`TEST_SEED` repeats it. `TEST_STOPS` sets how many stops the slow tests make.
"""

import os
import random
import secrets
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from ..support.books import books, totals
from ..support.waiting import wait_until
from ..support.workers import Fleet

Raw = Any
# The share of messages handled at the latest stop. The worker may handle the rest until the signal arrives.
LATEST = 1 / 4
MANY = int(os.environ.get("TEST_STOPS", "10"))


def fast(chance: random.Random) -> str:
    """Ask for no time."""
    return "ok"


def slow(chance: random.Random) -> str:
    """Ask for 10 ms or so."""
    return f"sleep:{chance.uniform(0, 0.02):.4f}"


def mixed(chance: random.Random) -> str:
    """Ask for no time, and now and then for some."""
    return chance.choice([fast, fast, fast, fast, slow])(chance)


class Shape(NamedTuple):
    """A load and its worker: the messages' type and `do`, how many wait at each stop, and the worker's arguments."""

    kind: str
    load: Callable[[random.Random], str]
    waiting: int
    arguments: Sequence[str] = ()


SHAPES = {
    "fast": Shape("sync", fast, 10_000),
    "fast, many consumers": Shape("sync", fast, 10_000, ("--processes", "2", "--threads", "4")),
    "slow": Shape("sync", slow, 200),
    "slow, many consumers": Shape("sync", slow, 1_000, ("--processes", "2", "--threads", "4")),
    "mixed": Shape("sync", mixed, 2_000, ("--threads", "2")),
    "batches": Shape("batched", mixed, 2_000, ("--threads", "2")),
    "coroutines": Shape("async", mixed, 5_000, ("--threads", "2")),
}
# These are stopped once by `make test`, too.
OFTEN = ("fast", "coroutines")


@pytest.fixture
def chance() -> Iterator[random.Random]:
    """Return the random generator of the moments."""
    seed = os.environ.get("TEST_SEED") or secrets.token_hex(4)
    print(f"TEST_SEED={seed}")  # noqa: T201  pytest shows it where the test fails
    return random.Random(seed)


def publish(raw: Raw, shape: Shape, chance: random.Random, count: int) -> None:
    """Append messages of this shape."""
    pipeline = raw.pipeline()
    for _ in range(count):
        pipeline.xadd("orders", {"do": shape.load(chance), "type": shape.kind})
    pipeline.execute()


def begun(fleet: Fleet, offset: int) -> int:
    """Return how many messages were begun, by the notes from this offset on."""
    with fleet.runs.open("rb") as notes:
        notes.seek(offset)
        return notes.read().count(b"began ")


def stop_amid_work(fleet: Fleet, chance: random.Random, waiting: int, *arguments: str) -> None:
    """Start a worker; after a random count of messages, signal its supervisor alone or all processes."""
    fleet.runs.touch()
    before, count = fleet.runs.stat().st_size, chance.randint(1, int(waiting * LATEST))
    worker = fleet.start(*arguments, TEST_HANDLERS="tests.faults.stopping")
    wait_until(lambda: begun(fleet, before) >= count, f"{count} messages are begun", deadline=60)
    chance.choice([os.kill, os.killpg])(worker.pid, signal.SIGTERM)
    fleet.finish(worker)


def noted(fleet: Fleet, what: str) -> Counter[str]:
    """Return how often each message has this note."""
    return Counter(message for _, message, *_ in fleet.noted(what))


@pytest.mark.timeout(max(120, 12 * MANY))
@pytest.mark.parametrize(
    ("name", "stops"),
    [
        *((each, 1) for each in OFTEN),
        *(pytest.param(each, MANY, marks=pytest.mark.slow) for each in SHAPES),
    ],
)
def test_a_stop_under_load_loses_and_doubles_nothing(
    raw: Raw, fleet: Fleet, chance: random.Random, name: str, stops: int
) -> None:
    """Begun messages end and are acknowledged; the others are there as if they had never been delivered."""
    shape = SHAPES[name]
    published, waiting = 0, shape.waiting
    while stops:
        published += (missing := waiting - published + len(noted(fleet, "ended")))
        publish(raw, shape, chance, missing)
        stop_amid_work(fleet, chance, waiting, *shape.arguments)
        ended = noted(fleet, "ended")
        assert noted(fleet, "began") == ended
        assert set(ended.values()) == {1}
        assert totals(raw) == {"acknowledged": len(ended)}
        assert books(raw).all == published
        pending = raw.xpending_range("orders", "billing", "-", "+", published)
        assert {(each["consumer"], each["times_delivered"]) for each in pending} <= {("returned", 0)}
        if len(ended) < published:
            stops -= 1
        else:  # It was done before the signal arrived, which proves nothing: it gets more to do.
            waiting *= 2
    fleet.drain("--threads", "16", TEST_HANDLERS="tests.faults.stopping")
    assert len(noted(fleet, "ended")) == len(fleet.noted("began")) == published
    assert totals(raw) == {"acknowledged": published}
