"""What one call of a handler is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...handlers import Handler
from ...message import Message
from ...store.consume.delivery import Delivery

__all__ = ["Batch"]


@dataclass(slots=True)
class Batch:
    """One message or several, in step with their deliveries, for one call of `handler`.

    `slots` are the slots of the consumer's thread on which they stand, if it calls a function for them.
    """

    handler: Handler
    deliveries: Sequence[Delivery]
    messages: list[Message]
    slots: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.deliveries)
