"""What an outbox costs a transaction, on a PostgreSQL that waits for the disk. Its processes count as others."""

import json
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.postgresql import NEEDS, Postgresql, programs

from .bench import Bench
from .figures import CannotMeasure, Comparison, Series, figure
from .latency import latencies
from .processes import ours

# More rounds: a disk is less steady than a processor.
_ROUNDS = 9
_LATENCY_ROUNDS = 5


@figure("outbox.commit")
def commit(bench: Bench) -> Comparison:
    """Transactions that save a row and publish, with `"OUTBOX": "always"` against without an outbox; PostgreSQL."""
    return _compared(bench, "always")


@figure("outbox.fallback")
def fallback(bench: Bench) -> Comparison:
    """The same with `"OUTBOX": "fallback"`, while the server is well."""
    return _compared(bench, "fallback")


@figure("outbox.latency")
def latency(bench: Bench) -> Comparison:
    """From the COMMIT to an idle worker's handler, a message each 10 ms, medians: without an outbox to `"always"`."""

    def with_outbox() -> list[float]:
        with _environment("BENCH_OUTBOX", "always"):
            return latencies(bench, ours("latency"), "commits")

    with _postgresql():
        over, under, foreign = bench.in_turns(
            lambda: latencies(bench, ours("latency"), "commits"), with_outbox, _LATENCY_ROUNDS
        )
    none, always = ([statistics.median(each) for each in side] for side in (over, under))
    return Comparison("µs", Series("none", none), Series("always", always), foreign)


def _compared(bench: Bench, outbox: str) -> Comparison:
    with _postgresql():
        return bench.compare(
            "transactions/s",
            (outbox, _committed(bench, outbox)),
            ("none", _committed(bench, "plain")),
            rounds=_ROUNDS,
        )


@contextmanager
def _postgresql() -> Iterator[None]:
    """Have a PostgreSQL, which the publishers' settings find in the environment."""
    found = programs()
    if found is None:
        raise CannotMeasure(NEEDS)
    database = Postgresql(found, fsync=True)
    try:
        with _environment("BENCH_DATABASE", json.dumps(database.settings)):
            yield
    finally:
        database.stop()


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Have a variable in the environment of the processes that are started meanwhile."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _committed(bench: Bench, stream: str) -> Callable[[], float]:
    """Return a function that measures transactions a second; the publisher itself times them, after a first tenth."""

    def measure() -> float:
        bench.client.flushdb()
        bench.pin(False)
        return float(bench.publisher("ours", "transactions", stream, cores=None))

    return measure
