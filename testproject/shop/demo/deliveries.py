"""The deliveries to each group's handler, from the log that each handler writes before it works.

A written line stays, even if the worker is killed the moment after and its transaction is rolled back. What a handler
isn't called for, because its work was committed before, stands in the books as repeated.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Delivery(NamedTuple):
    """One run of a handler: its process, its group, its message."""

    process: int
    group: str
    message_id: str


def read(log: Path) -> list[Delivery]:
    """Return all deliveries so far, in their order."""
    parts = (line.split(" ", 2) for line in log.read_text(encoding="utf-8").splitlines())
    return [Delivery(int(process), group, message_id) for process, group, message_id in parts]


def duplicates(deliveries: list[Delivery]) -> Counter[str]:
    """Return how many deliveries each group got of messages that it had got before."""
    times = Counter((each.group, each.message_id) for each in deliveries)
    found: Counter[str] = Counter()
    for (group, _), count in times.items():
        found[group] += count - 1
    return found
