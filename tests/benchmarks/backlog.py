"""Whether a worker stays as fast when many messages wait, or when a dead one left many. Both sides are ours."""

from typing import Any

from .bench import Bench
from .drain import drained
from .figures import Comparison, figure
from .latency import wait_for_reader
from .processes import ours

_MUCH = 1_000_000
_LITTLE = 10_000
# Messages measured on each side: the first of the large backlog, or of 20 small ones.
_MEASURED = 200_000
_WARM_UP = 20_000
_FILLS = 20
_LITTLE_WARM_UP = 1_000
_STALE = 100_000


@figure("growth")
def growth(bench: Bench) -> Comparison:
    """Our drain rate while 1,000,000 wait, against that while 10,000 wait."""
    return bench.compare(
        "messages/s",
        ("1,000,000 waiting", lambda: _with_much(bench)),
        ("10,000 waiting", lambda: _with_little(bench)),
    )


def _with_much(bench: Bench) -> float:
    """Measure the first 200,000 messages, without the first tenth of them."""
    bench.stock(_MUCH, ours=True)
    with bench.working(ours("message")) as run:
        handled, seconds = run.speed(_WARM_UP, _MEASURED)
    return handled / seconds


def _with_little(bench: Bench) -> float:
    """Give the idle worker 10,000 at once, again and again; the first 1,000 of each time don't count."""
    bench.stock(_LITTLE, ours=True)
    entries = [fields for _, fields in bench.client.xrange("orders")]
    bench.client.flushdb()
    handled, seconds = 0, 0.0
    with bench.working(ours("message")) as run:
        wait_for_reader(bench, "message", run)
        for number in range(_FILLS):
            _fill(bench, entries)
            more = run.speed(number * _LITTLE + _LITTLE_WARM_UP, (number + 1) * _LITTLE)
            run.tally.wait((number + 1) * _LITTLE, run.check)
            handled, seconds = handled + more[0], seconds + more[1]
    return handled / seconds


def _fill(bench: Bench, entries: list[Any]) -> None:
    """Add all entries at once: a reader sees none before all wait.

    In a transaction, because a script of this size leaves garbage that slows the following scripts.
    """
    with bench.client.pipeline(transaction=True) as pipeline:
        for fields in entries:
            pipeline.xadd("orders", fields)
        pipeline.execute()


@figure("pending")
def pending(bench: Bench) -> Comparison:
    """Our drain rate with 100,000 stale entries of a dead consumer to claim and handle meanwhile, against that without.

    The same number of messages is handled on both sides; CLAIM_IDLE is 1 s on both. A consumer claims nothing before
    it is connected for half of that.
    """
    return bench.compare(
        "messages/s",
        ("with", lambda: drained(bench, ours("pending"), prepare=lambda: _leave_stale(bench))),
        ("without", lambda: drained(bench, ours("pending"))),
    )


def _leave_stale(bench: Bench) -> None:
    """Let a consumer read half of the stock; it died an hour ago."""
    bench.make_group("pending")
    for _ in range(_STALE // 10_000):
        ((_, entries),) = bench.client.xreadgroup("pending", "dead", {"orders": ">"}, count=10_000)
        ids = [entry_id for entry_id, _ in entries]
        bench.client.xclaim("orders", "pending", "dead", 0, ids, idle=3_600_000, justid=True)
