"""Observers of what consumers receive, such as a contrib package's: one call for all deliveries of one reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership

__all__ = ["add_observer", "remove_observer", "tell_observers"]

_Observer = Callable[[Membership, Sequence[Delivery]], object]

_observers: list[_Observer] = []


def add_observer(observer: _Observer) -> None:
    """Call `observer` with what each consumer takes into hand from now on; it mustn't raise.

    Each delivery is told once: a message that was read, claimed or comes again is a delivery of its own. It is called
    in the consumer's thread, before the deliveries are run. Added twice, it counts once.
    """
    if observer not in _observers:
        _observers.append(observer)


def remove_observer(observer: _Observer) -> None:
    """Undo `add_observer`; do nothing if it wasn't added."""
    if observer in _observers:
        _observers.remove(observer)


def tell_observers(membership: Membership, deliveries: Sequence[Delivery]) -> None:
    """Tell the observers what this consumer has taken into hand, if it is anything."""
    if _observers and deliveries:
        for observer in _observers:
            observer(membership, deliveries)
