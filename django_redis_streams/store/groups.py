"""Consumer groups: made when missing, recorded when seen, paused and resumed."""

from __future__ import annotations

from typing import Any

from ..connections import Link
from ..keys import DEFAULT_LANE, StreamKeys, paused_field
from .inspect import pairs
from .membership import Membership
from .scripts import Command, run, script

__all__ = [
    "consumer_counts",
    "delete_group",
    "delivered_to",
    "make_group",
    "pause",
    "paused_command",
    "paused_since",
    "resume",
    "set_group",
]


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


def delete_group(link: Link, membership: Membership) -> bool:
    """Delete the group with all that waits for it, its record and its books; whether it was there."""
    keys, group, lanes = membership.keys, membership.group.name, membership.stream.lane_names
    names = [keys.main, keys.groups, keys.lanes]
    names += [key for lane in lanes for key in (keys.lane(lane), keys.redelivery(group, lane))]
    names += [keys.retry(group), keys.retry_entries(group), keys.suspects(group), keys.rate(group)]
    names += [keys.slots(group), keys.totals(group)]
    return bool(run(link, script("delete_group")(names, group, paused_field(group), len(lanes), *lanes)))


def delivered_to(link: Link, key: str) -> dict[str, str]:
    """Each group of a stream with the id that was last delivered to it; none where there is no stream."""
    return {group["name"]: group["last-delivered-id"] for group in _groups_on(link, key)}


def consumer_counts(link: Link, key: str) -> dict[str, int]:
    """Each group of a stream with how many consumers the server knows in it; none where there is no stream."""
    return {group["name"]: group["consumers"] for group in _groups_on(link, key)}


def _groups_on(link: Link, key: str) -> list[dict[str, Any]]:
    (reply,) = link.call_many([["XINFO", "GROUPS", key]])
    if isinstance(reply, Exception):
        if "no such key" in str(reply):
            return []
        raise reply
    return [pairs(group) for group in reply]


def set_group(link: Link, membership: Membership, start: str) -> str:
    """Have the group read on after an id, or with "$" what comes from now on, in each lane; the default lane's id."""
    keys, group = membership.keys, membership.group.name
    place = start
    for lane in membership.stream.lane_names:
        default = lane == DEFAULT_LANE
        field = group if default else f"{group}:{lane}"
        found = run(
            link, script("set_group")([keys.lane(lane), keys.groups if default else keys.lanes], group, field, start)
        )
        place = found if default else place
    return place


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
