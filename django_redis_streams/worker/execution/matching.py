"""Which handler runs a delivery that is in hand, for code that looks on."""

from __future__ import annotations

from ... import handlers
from ...handlers import Handler
from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership
from ...wire import Undecodable, decode_entry

__all__ = ["handler_of"]


def handler_of(membership: Membership, delivery: Delivery) -> Handler | None:
    """Return the handler that runs a delivery; None where it can't be told."""
    try:
        message = decode_entry(delivery)
    except Undecodable:
        return None
    return handlers.of(membership.stream.name, membership.group.name).find(message.type)
