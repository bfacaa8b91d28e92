"""Consumer groups: made when missing, recorded when seen."""

from __future__ import annotations

from ..connections import Link
from .membership import Membership
from .scripts import run, script

__all__ = ["make_group"]


def make_group(link: Link, membership: Membership, start: str) -> bool:
    """Make the group, on its redelivery stream too, where it is missing; whether it was.

    A group that was ever recorded begins where it began then; one that wasn't begins at `start`.
    """
    keys = membership.keys
    made, _ = run(
        link, script("make_group")([keys.main, keys.groups, membership.redelivery], membership.group.name, start)
    )
    return bool(made == "made")
