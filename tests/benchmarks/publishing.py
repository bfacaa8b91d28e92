"""How publishers time themselves, the same on both sides."""

import time
from collections.abc import Callable

__all__ = ["HOW_MANY", "TICKS", "TICKS_SKIPPED", "TRANSACTIONS", "each_tick", "speed"]

# How many messages are timed when published one by one; in bulk, ten times as many.
HOW_MANY = 10_000
# A disk takes part in each.
TRANSACTIONS = 2_000
# The share of messages that are published before the clock starts.
_WARM_UP = 0.1
# For latencies: how many messages are sent, how many of the first don't count, and the seconds between two.
TICKS = 650
TICKS_SKIPPED = 50
_TICK = 0.01


def speed(publish: Callable[[], object], at_once: int, how_many: int) -> float:
    """Return messages a second of a function that publishes `at_once` of them."""
    for _ in range(int(how_many * _WARM_UP) // at_once):
        publish()
    began = time.perf_counter()
    for _ in range(how_many // at_once):
        publish()
    return how_many / (time.perf_counter() - began)


def each_tick(publish: Callable[[], object]) -> list[int]:
    """Publish every 10 ms; return when each call began, in ns on the clock that all processes share."""
    began = []
    due = time.monotonic()
    for _ in range(TICKS):
        due += _TICK
        time.sleep(max(0.0, due - time.monotonic()))
        began.append(time.monotonic_ns())
        publish()
    return began
