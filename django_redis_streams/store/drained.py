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
    replies = link.call_many(
        [
            *(["XPENDING", key, group] for key in membership.sources),
            ["ZRANGE", keys.retry(group), 0, 0, "WITHSCORES"],
            ["TIME"],
            *(["XLEN", key] for key in membership.sources if membership.is_ours(key)),
        ]
    )
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    streams = len(membership.sources)
    pending, due, time, redelivered = replies[:streams], replies[streams], replies[streams + 1], replies[streams + 2 :]
    now = int(time[0]) * 1000 + int(time[1]) // 1000
    return not (any(each[0] for each in pending) or any(redelivered)) and (not due or float(due[1]) > now)
