"""How much memory messages take in the server, and a worker beside it."""

import time

from .bench import Bench
from .figures import Comparison, figure
from .processes import Worker, bare, ours

_MESSAGES = 100_000
# So many messages were handled before a worker is idle.
_HANDLED = 1_000
# In seconds: a worker whose memory didn't grow for so long is idle.
_STEADY = 3.0
_MB = 1024


@figure("memory")
def memory(bench: Bench) -> Comparison:
    """Bytes of the server per message in the stream: an entry of one field, the payload as JSON, against ours."""
    return bench.compare(
        "bytes",
        ("bare", lambda: _bytes_each(bench, ours=False)),
        ("ours", lambda: _bytes_each(bench, ours=True)),
        rounds=1,
    )


def _bytes_each(bench: Bench, *, ours: bool) -> float:
    """Return by how much `used_memory` falls when the messages are deleted, per message."""
    bench.stock(_MESSAGES, ours=ours)
    used = _used(bench)
    bench.client.flushdb()
    return (used - _used(bench)) / _MESSAGES


def _used(bench: Bench) -> int:
    return int(bench.client.info("memory")["used_memory"])


@figure("memory.worker")
def memory_of_worker(bench: Bench) -> Comparison:
    """Memory of an idle worker of one process, Django and supervisor included, against the bare loop's."""
    return bench.compare(
        "MB",
        ("bare", lambda: _idle(bench, bare("json"))),
        ("ours", lambda: _idle(bench, ours("message"))),
        rounds=3,
    )


def _idle(bench: Bench, worker: Worker) -> float:
    """Return how many MB a worker has in memory once that has stopped growing."""
    bench.stock(_HANDLED, ours=worker.ours)
    with bench.working(worker) as run:
        run.tally.wait(_HANDLED, run.check)
        most, since = 0, time.monotonic()
        while time.monotonic() - since < _STEADY:
            run.check()
            if (now := run.memory()) > most:
                most, since = now, time.monotonic()
            time.sleep(0.1)
    return most / _MB
