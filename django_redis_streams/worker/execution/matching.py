"""Which handler runs a delivery, for code that looks on."""

from __future__ import annotations

from typing import NamedTuple

from ... import handlers
from ...handlers import Handler
from ...message import Message
from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership
from ...wire import Undecodable, decode_entry

__all__ = ["MatchedRun", "matched_run"]


class MatchedRun(NamedTuple):
    """A message of a delivery, and the handler that runs it."""

    message: Message
    handler: Handler


def matched_run(membership: Membership, delivery: Delivery) -> MatchedRun | None:
    """Return the message of a delivery and its handler; None where it can't be decoded, or has no handler here."""
    try:
        message = decode_entry(delivery)
    except Undecodable:
        return None
    handler = handlers.of(membership.stream.name, membership.group.name).find(message.type)
    return None if handler is None else MatchedRun(message, handler)
