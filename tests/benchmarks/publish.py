"""How fast messages are published. Both sides encode the same payload as JSON; ours gives each message an id too."""

from collections.abc import Callable

from .bench import Bench
from .figures import Comparison, figure
from .machine import worker_core

# More rounds, since a round takes only a second, and for most of it both sides wait for the server to wake up.
_ROUNDS_OF_SINGLE = 9


@figure("publish.single")
def single(bench: Bench) -> Comparison:
    """`publish()` one by one, outside a transaction, against `Redis.xadd()` one by one."""
    return bench.compare(
        "messages/s",
        ("ours", _published(bench, "ours", "one")),
        ("bare", _published(bench, "bare", "one")),
        rounds=_ROUNDS_OF_SINGLE,
    )


@figure("publish.many")
def many(bench: Bench) -> Comparison:
    """`publish_many()` of 1000 payloads against redis-py's pipeline of 1000 XADDs, again and again."""
    return bench.compare(
        "messages/s",
        ("ours", _published(bench, "ours", "many")),
        ("bare", _published(bench, "bare", "many")),
    )


def _published(bench: Bench, side: str, how: str) -> Callable[[], float]:
    """Return a function that measures messages a second; the publisher itself times them, after a first tenth."""

    def measure() -> float:
        bench.client.flushdb()
        bench.pin(True)
        return float(bench.publisher(side, how, cores=worker_core()))

    return measure
