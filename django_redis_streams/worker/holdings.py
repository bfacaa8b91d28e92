"""What one consumer has in hand: delivered to it, and not yet seen settled.

The consumer puts in and takes out, the keeper's thread looks and takes out what was lost. Neither waits for
the other: each step here is one operation on a dict or an attribute, which Python does whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..store.delivery import Delivery

__all__ = ["Holdings"]


class Holdings(dict[str, Delivery]):
    """Deliveries by token; each tells when it was last known to be this consumer's."""

    def take(self, deliveries: Iterable[Delivery], since: float) -> None:
        """Take these into hand, ours at `since`: when they were asked for, not when they came."""
        for each in deliveries:
            each.since = since
            self[each.token] = each

    def release(self, token: str) -> None:
        """Let go of one: settled, or lost."""
        self.pop(token, None)

    def by_key(self) -> dict[str, list[Delivery]]:
        """What is in hand, by the stream it is pending in."""
        found: dict[str, list[Delivery]] = {}
        for each in list(self.values()):
            found.setdefault(each.key, []).append(each)
        return found
