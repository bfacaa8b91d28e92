"""What the inbox costs a handler that writes to the database: a PostgreSQL of this machine. Both sides are ours."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .bench import Bench
from .drain import drained
from .figures import CannotMeasure, Comparison, figure
from .processes import ours

if TYPE_CHECKING:
    from tests.support.postgresql import Postgresql

_MESSAGES = 10_000
_IN_BATCHES = 100_000
_SETTINGS = ("--settings", "tests.benchmarks.inbox_settings")


@figure("inbox.message")
def message(bench: Bench) -> Comparison:
    """One process, a function that writes a row for each message: with `once=True` against `atomic=True`."""
    return _compared(bench, "once", "atomic", _MESSAGES)


@figure("inbox.batch")
def batch(bench: Bench) -> Comparison:
    """The same with batches of up to 100, whose rows are written by one statement."""
    return _compared(bench, "once-batch", "atomic-batch", _IN_BATCHES)


def _compared(bench: Bench, once: str, atomic: str, count: int) -> Comparison:
    with _database(bench) as database:

        def empty() -> None:
            database.ask("TRUNCATE effects, django_redis_streams_inbox_inboxmessage")

        def speed(group: str) -> float:
            return drained(bench, ours(group, *_SETTINGS), count=count, prepare=empty)

        return bench.compare("messages/s", (once, lambda: speed(once)), (atomic, lambda: speed(atomic)))


@contextmanager
def _database(bench: Bench) -> Iterator["Postgresql"]:
    """Start a PostgreSQL, without a disk to wait for, and make the tables."""
    try:
        from tests.support.postgresql import NEEDS, Postgresql, programs  # noqa: PLC0415  its driver may be missing
    except ImportError as error:
        raise CannotMeasure(f"psycopg isn't installed: {error}") from error
    found = programs()
    if found is None:
        raise CannotMeasure(NEEDS)
    database = Postgresql(found)
    try:
        os.environ["BENCH_DATABASE"] = json.dumps(database.settings)
        database.ask('CREATE TABLE effects (id bigserial PRIMARY KEY, "order" varchar(20) NOT NULL)')
        bench.run("-m", "django", "migrate", *_SETTINGS, "django_redis_streams_inbox")
        yield database
    finally:
        del os.environ["BENCH_DATABASE"]
        database.stop()
