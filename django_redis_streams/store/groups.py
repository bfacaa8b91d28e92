"""Consumer groups: made when missing, recorded when seen."""

from __future__ import annotations

from redis.exceptions import ResponseError

from ..connections import Link
from .membership import Membership
from .refusals import group_exists
from .scripts import run, script

__all__ = ["make_group"]


def make_group(link: Link, membership: Membership, start: str) -> bool:
    """Make the group, on its redelivery stream too, where it is missing; whether it was.

    A group that was ever recorded begins where it began then; one that wasn't begins at `start`. Its
    redelivery stream is always read from the beginning: what is there is meant for this group alone.
    """
    keys = membership.keys
    made, _ = run(link, script("make_group")([keys.main, keys.groups], membership.group.name, start))
    try:
        link.call("XGROUP", "CREATE", membership.redelivery, membership.group.name, "0", "MKSTREAM")
    except ResponseError as error:
        if not group_exists(error):
            raise
    return bool(made == "made")
