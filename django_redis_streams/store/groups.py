"""Consumer groups: made when missing, recorded when seen."""

from __future__ import annotations

from ..connections import Link
from ..keys import DEFAULT_LANE
from .membership import Membership
from .scripts import run, script

__all__ = ["make_group"]


def make_group(link: Link, membership: Membership, start: str) -> bool:
    """Make the group, on all lanes and their redelivery streams, where it is missing; whether it was.

    A group that was ever recorded begins where it began then; one that wasn't begins at `start`.
    """
    keys, group = membership.keys, membership.group.name
    lanes = [each for each in membership.stream.lane_names if each != DEFAULT_LANE]
    names = [keys.main, keys.groups, membership.redelivery]
    if lanes:
        names += [keys.lanes, *(key for each in lanes for key in (keys.lane(each), keys.redelivery(group, each)))]
    made, _ = run(link, script("make_group")(names, group, start, *lanes))
    return bool(made == "made")
