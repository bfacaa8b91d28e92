"""Consumer groups: made when missing, recorded when seen, paused and resumed."""

from __future__ import annotations

from ..connections import Link
from ..keys import DEFAULT_LANE, StreamKeys, paused_field
from .membership import Membership
from .scripts import Command, run, script

__all__ = ["make_group", "pause", "paused_command", "paused_since", "resume"]


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


def pause(link: Link, keys: StreamKeys, group: str) -> bool:
    """Have no worker read the group's messages from now on; whether it wasn't so before."""
    return bool(run(link, script("pause")([keys.groups, keys.main], paused_field(group))))


def resume(link: Link, keys: StreamKeys, group: str) -> bool:
    """Have workers read them again; whether the group was paused."""
    return bool(link.call("HDEL", keys.groups, paused_field(group)))


def paused_command(keys: StreamKeys, group: str) -> Command:
    """Asks since when the group is paused, for `paused_since`."""
    return ["HGET", keys.groups, paused_field(group)]


def paused_since(reply: str | None) -> int | None:
    """In ms since 1970, None where it isn't paused. Whatever stands there means paused."""
    if reply is None:
        return None
    return int(reply) if reply.isascii() and reply.isdecimal() else 0
