"""How fast waiting messages are handled.

The stream is filled before. Rates are measured from outside, from the first tenth to the last message, so no
start-up counts. Our side is `manage.py runconsumers` as it is deployed, with supervisor, heartbeat, maintenance and
promoter, and all promises kept: messages are held by heartbeat, acknowledged by script, counted in the totals.
"""

import sys
from collections.abc import Callable

from .bench import Bench
from .figures import CannotMeasure, Comparison, figure
from .processes import Worker, bare, ours

__all__ = ["drained"]

_MESSAGES = 200_000
_AWAITED_MESSAGES = 50_000
_SLOW_MESSAGES = 5_000
_SLOW_STOCK = 10_000


def drained(
    bench: Bench,
    worker: Worker,
    *,
    count: int = _MESSAGES,
    pinned: bool = True,
    prepare: Callable[[], None] = lambda: None,
) -> float:
    """Return how many messages a second a worker handles, of `count` that wait, after `prepare` has run."""
    bench.stock(count, ours=worker.ours)
    prepare()
    with bench.working(worker, pinned=pinned) as run:
        handled, seconds = run.speed(count // 10, count)
    return handled / seconds


@figure("drain.message")
def message(bench: Bench) -> Comparison:
    """One process, a function called with each message, against the bare loop by 100."""
    return bench.compare(
        "messages/s",
        ("ours", lambda: drained(bench, ours("message"))),
        ("bare", lambda: drained(bench, bare("json"))),
    )


@figure("drain.orjson")
def orjson(bench: Bench) -> Comparison:
    """The same against the bare loop by 100 with orjson; ours has Python's own parser."""
    return bench.compare(
        "messages/s",
        ("ours", lambda: drained(bench, ours("message"))),
        ("bare", lambda: drained(bench, bare("orjson"))),
    )


@figure("drain.batch")
def batch(bench: Bench) -> Comparison:
    """One process, a function called with batches of up to 100, against the bare loop by 100.

    The function writes once for each message of the batch, as the bare loop does.
    """
    return bench.compare(
        "messages/s",
        ("ours", lambda: drained(bench, ours("batch"))),
        ("bare", lambda: drained(bench, bare("json"))),
    )


@figure("drain.async")
def awaited(bench: Bench) -> Comparison:
    """One process, an `async def` handler that never suspends, against the bare loop by 100. Python 3.12 or newer."""
    return _awaited(bench, "awaited")


@figure("drain.async_suspending")
def suspending(bench: Bench) -> Comparison:
    """The same with one `await asyncio.sleep(0)` in the handler."""
    return _awaited(bench, "suspending")


def _awaited(bench: Bench, group: str) -> Comparison:
    if sys.version_info < (3, 12):
        raise CannotMeasure("tasks begin at once from Python 3.12 on; this is an older one")
    return bench.compare(
        "messages/s",
        ("ours", lambda: drained(bench, ours(group), count=_AWAITED_MESSAGES)),
        ("bare", lambda: drained(bench, bare("json"))),
    )


@figure("drain.processes")
def processes(bench: Bench) -> Comparison:
    """Two processes against two bare loops, none of them pinned."""
    return bench.compare(
        "messages/s",
        ("ours", lambda: drained(bench, ours("message", "--processes", "2"), pinned=False)),
        ("bare", lambda: drained(bench, bare("json", processes=2), pinned=False)),
    )


@figure("drain.threads")
def threads(bench: Bench) -> Comparison:
    """8 threads of one process whose handler sleeps 5 ms, against 8 bare threads that sleep so."""
    return bench.compare(
        "messages/s",
        ("ours", lambda: _drained_slowly(bench, ours("threads", "--threads", "8"))),
        ("bare", lambda: _drained_slowly(bench, bare("threads"))),
    )


def _drained_slowly(bench: Bench, worker: Worker) -> float:
    """Measure with twice as many messages as are counted, so that no thread runs out of work before the others."""
    bench.stock(_SLOW_STOCK, ours=worker.ours)
    with bench.working(worker) as run:
        handled, seconds = run.speed(_SLOW_MESSAGES // 5, _SLOW_MESSAGES)
    return handled / seconds
