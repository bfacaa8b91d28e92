"""How long a message takes from the call that publishes it to its handler.

The worker is idle, and a message comes every 10 ms. Each side publishes in its own way, from a process beside the
server; the handler writes down when it was called. The first 50 messages don't count.
"""

import functools
import json
import statistics
import time

from .bench import Bench, Run
from .figures import CannotMeasure, Comparison, Series, figure
from .machine import server_core
from .processes import Worker, bare, ours
from .publishing import TICKS, TICKS_SKIPPED

_ROUNDS = 7
_READY_WITHIN = 20.0


@figure("latency.p50")
def p50(bench: Bench) -> Comparison:
    """From publishing to the handler of an idle worker, a message each 10 ms: the bare loop's median against ours."""
    return _percentile(bench, 50)


@figure("latency.p99")
def p99(bench: Bench) -> Comparison:
    """The same, the 99th percentile of 600."""
    return _percentile(bench, 99)


def _percentile(bench: Bench, percent: int) -> Comparison:
    over, under, foreign = _measured(bench)
    picked = [[statistics.quantiles(each, n=100)[percent - 1] for each in side] for side in (over, under)]
    return Comparison("µs", Series("bare", picked[0]), Series("ours", picked[1]), foreign)


@functools.cache
def _measured(bench: Bench) -> tuple[list[list[float]], list[list[float]], float]:
    """Measure once for both percentiles."""
    return bench.in_turns(lambda: latencies(bench, bare("latency")), lambda: latencies(bench, ours("latency")), _ROUNDS)


def latencies(bench: Bench, worker: Worker, how: str = "ticks") -> list[float]:
    """Return the latencies of what the worker's side publishes in this way, in microseconds."""
    bench.client.flushdb()
    with bench.working(worker) as run:
        wait_for_reader(bench, worker.group, run)
        began = json.loads(bench.publisher("ours" if worker.ours else "bare", how, cores=server_core()))
        run.tally.wait(TICKS, run.check)
        handled = run.tally.times()
    return [(end - begin) / 1000 for begin, end in zip(began, handled, strict=True)][TICKS_SKIPPED:]


def wait_for_reader(bench: Bench, group: str, run: Run) -> None:
    """Wait until the worker reads: then the server knows a consumer."""
    deadline = time.monotonic() + _READY_WITHIN
    while not bench.client.xinfo_consumers("orders", group):
        run.check()
        if time.monotonic() > deadline:
            raise CannotMeasure(f"no worker has read within {_READY_WITHIN:.0f} s")
        time.sleep(0.01)
