"""Consumer groups: made when missing, recorded when seen, paused and resumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from ...conf import StreamConfig
from ...connections import Link
from ...keys import DEFAULT_LANE, StreamKeys, deleted_field, group_of_field, paused_field
from ..replies import pairs
from ..scripts import Command, run, script
from .membership import Membership
from .presence import LIVING_MS

__all__ = [
    "HEARD_WITHIN",
    "Deleted",
    "Deletion",
    "Made",
    "abandoned_groups",
    "began_after",
    "delete_group",
    "deletion",
    "delivered_to",
    "make_group",
    "pause",
    "paused_command",
    "paused_since",
    "resume",
    "set_group",
]

# In seconds: another client's consumer that the server has heard of within this time keeps its group from deletion.
HEARD_WITHIN: Final = 30.0


class Deletion(NamedTuple):
    """The record that a group was deleted on purpose: when, in ms since 1970, and by whom."""

    at: int
    by: str


class Made(NamedTuple):
    """Whether a group was `made` now, and the record if it had been `deleted` on purpose.

    A group with such a record that wasn't made was left deleted.
    """

    made: bool
    deleted: Deletion | None


class Deleted(NamedTuple):
    """Whether a group was `there`, whether it is gone now (`done`), and which living consumers it had."""

    there: bool
    done: bool
    consumers: Sequence[str]


def make_group(link: Link, membership: Membership, start: str, *, anew: bool = True) -> Made:
    """Make the group, on all lanes and their redelivery streams, where it is missing.

    A recorded group begins where it began before; any other begins at `start`. A group that was deleted on purpose is
    made only if `anew` allows it, and begins at `start` too.
    """
    keys, group = membership.keys, membership.group.name
    lanes = [each for each in membership.stream.lane_names if each != DEFAULT_LANE]
    names = [keys.main, keys.groups, keys.workers(group), keys.books(group), membership.redelivery]
    if lanes:
        names += [keys.lanes, *(key for each in lanes for key in (keys.lane(each), keys.redelivery(group, each)))]
    deleted_in, word = deleted_field(group), int(anew)
    made, deleted = run(link, script("make_group")(names, group, start, deleted_in, word, membership.consumer, *lanes))
    return Made(made == "made", deletion(deleted))


def deletion(record: str | None) -> Deletion | None:
    """Return what is on record of a group's deletion; None where nothing is."""
    if record is None:
        return None
    at, _, by = record.partition(" ")
    return Deletion(int(at) if at.isascii() and at.isdecimal() else 0, by)


def delete_group(
    link: Link, membership: Membership, lanes: Sequence[str], how: Literal["look", "safe", "force"], *, by: str = ""
) -> Deleted:
    """Delete the group on these lanes, all that waits for it, its record and its books.

    "safe" leaves a group alone that somebody consumes; "look" deletes nothing.
    """
    keys, group = membership.keys, membership.group.name
    names = [keys.main, keys.groups, keys.lanes, keys.workers(group), keys.processes, keys.alive(""), keys.notices]
    names += [key for lane in lanes for key in (keys.lane(lane), keys.redelivery(group, lane))]
    names += [keys.retry(group), keys.retry_entries(group), keys.suspects(group), keys.rate(group)]
    names += [keys.slots(group), keys.totals(group), keys.books(group)]
    words: list[str | float] = [
        group,
        paused_field(group),
        deleted_field(group),
        by,
        LIVING_MS,
        round(HEARD_WITHIN * 1000),
        how,
    ]
    there, *consumers = run(link, script("delete_group")(names, *words, len(lanes), *lanes))
    return Deleted(bool(there), how != "look" and there >= 0, sorted(consumers))


def began_after(link: Link, membership: Membership) -> str:
    """Return the id after which the group began on the default lane when it was first made; it is on record."""
    recorded = link.call("HGET", membership.keys.groups, membership.group.name) or "0"
    return recorded if "-" in recorded else f"{recorded}-0"


def delivered_to(link: Link, key: str) -> dict[str, str]:
    """Return each group of a stream with the id that was last delivered to it; none where there is no stream."""
    (reply,) = link.call_many([["XINFO", "GROUPS", key]])
    if isinstance(reply, Exception):
        if "no such key" in str(reply):
            return {}
        raise reply
    return {group["name"]: group["last-delivered-id"] for group in map(pairs, reply)}


def abandoned_groups(link: Link, stream: StreamConfig) -> dict[str, str]:
    """Return the groups that were served here and aren't declared now, each with the id that it was given last.

    Groups that other clients made, and groups that were never given anything, are left out.
    """
    recorded = {group_of_field(field) for field in link.call("HKEYS", stream.keys.groups)} - {*stream.groups}
    given = delivered_to(link, stream.keys.main)
    return {group: last for group, last in given.items() if group in recorded and last != "0-0"}


def set_group(link: Link, membership: Membership, lanes: Sequence[str], start: str) -> str:
    """Have the group read on after an id in these lanes, "$" for what comes from now on; return the default lane's."""
    keys, group = membership.keys, membership.group.name
    place = start
    for lane in lanes:
        default = lane == DEFAULT_LANE
        field = group if default else f"{group}:{lane}"
        names = [keys.lane(lane), keys.groups if default else keys.lanes, keys.totals(group), keys.books(group)]
        found = run(link, script("set_group")(names, group, field, start, lane))
        place = found if default else place
    return place


def pause(link: Link, keys: StreamKeys, group: str) -> bool:
    """Have no worker read the group's messages from now on; return False if it was paused before."""
    return bool(run(link, script("pause")([keys.groups, keys.main, keys.notices], group, paused_field(group))))


def resume(link: Link, keys: StreamKeys, group: str) -> bool:
    """Have workers read the group's messages again; return whether it was paused."""
    return bool(link.call("HDEL", keys.groups, paused_field(group)))


def paused_command(keys: StreamKeys, group: str) -> Command:
    """Ask since when the group is paused, for `paused_since`."""
    return ["HGET", keys.groups, paused_field(group)]


def paused_since(reply: str | None) -> int | None:
    """Return since when a group is paused, in ms since 1970, else None. Any text means paused."""
    if reply is None:
        return None
    return int(reply) if reply.isascii() and reply.isdecimal() else 0
