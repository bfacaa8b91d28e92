"""Whether a group has nothing left to do now."""

from __future__ import annotations

from ..connections import Link
from .membership import Membership

__all__ = ["is_drained"]


def is_drained(link: Link, membership: Membership) -> bool:
    """Whether nothing of the group is pending, due or redelivered, on the way to a read that finds nothing.

    The order matters: after nothing was pending nothing can become a retry, and after nothing was due
    nothing can be on its way to redelivery. What is due later doesn't count.
    """
    keys, group = membership.keys, membership.group.name
    main, redelivery, due, time, redelivered = link.call_many(
        [
            ["XPENDING", membership.main, group],
            ["XPENDING", membership.redelivery, group],
            ["ZRANGE", keys.retry(group), 0, 0, "WITHSCORES"],
            ["TIME"],
            ["XLEN", membership.redelivery],
        ]
    )
    for reply in (main, redelivery, due, time, redelivered):
        if isinstance(reply, Exception):
            raise reply
    now = int(time[0]) * 1000 + int(time[1]) // 1000
    return not (main[0] or redelivery[0] or redelivered) and (not due or float(due[1]) > now)
