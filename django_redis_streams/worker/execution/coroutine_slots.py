"""The rows of a consumer's slots that its coroutines stand on: which are free, and what they are named."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ...store.consume.delivery import Delivery
from ..shared.scoreboard import Slots

__all__ = ["Rows"]


class Rows:
    """A row is taken right before a message is run, and given back after it."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._all = slots.coroutine_rows
        self._free = deque(self._all)
        # So many of those that are taken next have their names already.
        self._named = 0

    def name_next(self, deliveries: Sequence[Delivery]) -> None:
        """Where none is taken: name those that are taken next, in this order; all at once costs a third."""
        named = deliveries[: len(self._all)]
        self._free = deque(self._all)
        self._slots.name_coroutines(named, self._all.start)
        self._named = len(named)

    def forget_next(self) -> None:
        """Another is taken next than was named."""
        self._named = 0

    def take(self, delivery: Delivery, deadline: float) -> int:
        """The row on which this runs now, until the deadline."""
        row = self._free.popleft()
        if self._named:
            self._named -= 1
        else:
            self._slots.name_coroutines((delivery,), row)
        self._slots.deadlines[row] = deadline
        return row

    def taken(self) -> dict[str, int]:
        """The rows on which something runs now, by its token; for any thread, and seldom: it reads all names."""
        rows = [row for row, _ in self._slots.running_rows() if row in self._all]
        return dict(zip(self._slots.names(rows), rows, strict=True))

    def put_off(self, rows: Sequence[int], seconds: float) -> None:
        """What runs on these has so much longer."""
        for row in rows:
            self._slots.deadlines[row] += seconds

    def give_back(self, row: int) -> None:
        """What stood there has ended."""
        self._slots.deadlines[row] = 0.0
        self._free.append(row)
