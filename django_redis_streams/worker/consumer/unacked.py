"""What one consumer has in hand: delivered to it, and not yet seen settled.

The consumer puts in and takes out; the heartbeat's thread looks, and takes out what was lost. Neither waits for
the other: each step here is one operation on a set or an attribute, which is atomic in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ...store.consume.delivery import Delivery

__all__ = ["Taken", "Unacked"]


class Taken:
    """Whether any of some consumers has taken something into hand since the heartbeat last looked at them.

    `wake` ends the heartbeat's wait: it sleeps while there is nothing.
    """

    def __init__(self, wake: Callable[[], object] = lambda: None) -> None:
        self.anything = False
        self._wake = wake

    def take(self) -> None:
        """Note that something was taken."""
        if not self.anything:
            self.anything = True
            self._wake()


class Unacked(set[Delivery]):
    """Deliveries, by identity: a message that was lost and came again is another delivery, and the first isn't run.

    Each delivery tells when it was last known to be this consumer's.
    """

    # The heartbeat gives the consumers of its process one in common.
    taken = Taken()

    def take(self, deliveries: Sequence[Delivery], since: float) -> None:
        """Take these into hand, this consumer's at `since`: when they were asked for, not when they came."""
        for each in deliveries:
            each.since = since
        self.update(deliveries)
        if deliveries:
            self.taken.take()

    def release(self, tokens: Iterable[str]) -> None:
        """Drop the deliveries with these tokens, which were lost."""
        if lost := frozenset(tokens):
            self.difference_update([each for each in list(self) if each.token in lost])

    @property
    def tokens(self) -> frozenset[str]:
        """The tokens by which the deliveries are pending."""
        return frozenset([each.token for each in list(self)])

    def by_key(self) -> dict[str, list[Delivery]]:
        """Return the deliveries in hand, by the stream that they are pending in."""
        found: dict[str, list[Delivery]] = {}
        for each in list(self):
            found.setdefault(each.key, []).append(each)
        return found
