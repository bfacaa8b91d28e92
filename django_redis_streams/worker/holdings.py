"""What one consumer has in hand: delivered to it, and not yet seen settled.

The consumer puts in and takes out, the keeper's thread looks and takes out what was lost. Neither waits for
the other: each step here is one operation on a dict or an attribute, which Python does whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from ..store.delivery import Delivery

__all__ = ["Holdings"]


class Holdings:
    """Deliveries by token, and since when they are known to be this consumer's."""

    def __init__(self) -> None:
        self._in_hand: dict[str, Delivery] = {}
        self._confirmed = time.monotonic()

    def __contains__(self, token: str) -> bool:
        return token in self._in_hand

    def __len__(self) -> int:
        return len(self._in_hand)

    def take(self, deliveries: Iterable[Delivery]) -> None:
        """Take these into hand."""
        self._in_hand.update((each.token, each) for each in deliveries)

    def release(self, token: str) -> None:
        """Let go of one: settled, or lost."""
        self._in_hand.pop(token, None)

    def confirm(self, since: float) -> None:
        """All that is in hand was known to be ours at `since`, on the monotonic clock."""
        self._confirmed = max(self._confirmed, since)

    def doubtful(self, after: float) -> bool:
        """Whether what is in hand was last confirmed more than `after` seconds ago."""
        return time.monotonic() - self._confirmed > after

    def ids_by_key(self) -> dict[str, list[str]]:
        """The entry ids in hand, by the stream they are pending in."""
        ids: dict[str, list[str]] = {}
        for each in list(self._in_hand.values()):
            ids.setdefault(each.key, []).append(each.entry_id)
        return ids
