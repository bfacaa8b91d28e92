"""What all workers of a group share: how many messages a second are begun, and how many are run at once.

A message that is in a worker's hand has a lease of `CLAIM_IDLE`, which the heartbeat renews: a dead worker's messages
hold up nobody for longer.
"""

from __future__ import annotations

from typing import Final

from .membership import Membership

__all__ = ["limit_keys", "limit_words", "slots_key"]

# How much of an even pace may come at once: a tenth of a second's worth, and never less than one message.
_AT_ONCE: Final = 0.1


def limit_keys(membership: Membership) -> list[str]:
    """Return the keys of a group's limits, as scripts take them."""
    keys, group = membership.keys, membership.group.name
    return [keys.rate(group), keys.slots(group)]


def limit_words(membership: Membership) -> list[str | float]:
    """Return a group's limits, as scripts take them."""
    rate, slots = membership.group.rate, membership.group.group_concurrency
    return [
        "" if rate is None else 1_000_000 / rate,
        "" if rate is None else max(1.0, rate * _AT_ONCE),
        "" if slots is None else slots,
        membership.claim_idle_ms,
    ]


def slots_key(membership: Membership) -> list[str]:
    """Return the key of a group's slots, which settling frees; nothing where the group has none."""
    return [] if membership.group.group_concurrency is None else [membership.keys.slots(membership.group.name)]
