"""The slots of a consumer that its coroutines stand on: which are free, and what they are named."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ....store.consume.delivery import Delivery
from ...shared.scoreboard import Slots

__all__ = ["CoroutineSlots"]


class CoroutineSlots:
    """A slot is taken right before a message is run, and given back after it."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._all = slots.coroutine_slots
        self._free = deque(self._all)
        # How many of the slots that are taken next have their names already.
        self._named = 0

    def name_next(self, deliveries: Sequence[Delivery]) -> None:
        """Name the slots that are taken next, in this order, while none is taken; all at once costs a third."""
        named = deliveries[: len(self._all)]
        self._free = deque(self._all)
        self._slots.name_coroutines(named, self._all.start)
        self._named = len(named)

    def forget_next(self) -> None:
        """Forget those names, because the next delivery isn't the one that was named."""
        self._named = 0

    def take(self, delivery: Delivery, deadline: float) -> int:
        """Take and return the slot on which a delivery runs from now on, until the deadline."""
        slot = self._free.popleft()
        if self._named:
            self._named -= 1
        else:
            self._slots.name_coroutines((delivery,), slot)
        self._slots.deadlines[slot] = deadline
        return slot

    def taken(self) -> dict[str, int]:
        """Return the slots on which something runs now, by the token of what runs.

        Any thread may call this, but seldom: it reads all names.
        """
        slots = [slot for slot, _ in self._slots.running_slots() if slot in self._all]
        return dict(zip(self._slots.names(slots), slots, strict=True))

    def put_off(self, slots: Sequence[int], seconds: float) -> None:
        """Give the runs on these slots so many more seconds."""
        for slot in slots:
            self._slots.deadlines[slot] += seconds

    def give_back(self, slot: int) -> None:
        """Free a slot whose run has ended."""
        self._slots.deadlines[slot] = 0.0
        self._free.append(slot)
