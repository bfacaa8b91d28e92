"""Suspects: entries that a worker was running when it died, or that outlived two hosts. They run in quarantine only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...connections import Link
from ...keys import split_token
from ..scripts import Command, run, script
from .delivery import Delivery, deliveries
from .limits import limit_keys, limit_words
from .membership import Membership

__all__ = [
    "Crashed", "Tried", "body_of", "count_suspects", "count_suspects_command", "suspect", "suspects", "take_back",
    "try_suspect",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Crashed:
    """A message that ended its worker in `runs` runs in quarantine: its handler, and how the last worker ended."""

    runs: int
    handler: str
    how: str


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of claiming a suspect.

    A `delivery` is this consumer's: to be run or, if it `crashed` too often, to be dead-lettered. If there is none, the
    suspect is another consumer's, or it is gone (`vanished` if its body was deleted), or the group's limits leave no
    room for it now (`limited`).
    """

    delivery: Delivery | None = None
    crashed: Crashed | None = None
    vanished: bool = False
    limited: bool = False


def count_suspects(link: Link, membership: Membership) -> int:
    """Return how many suspects the group has; some of them may be settled by now."""
    return int(link.call(*count_suspects_command(membership)))


def count_suspects_command(membership: Membership) -> Command:
    """Return the command by which `count_suspects` counts."""
    return ["HLEN", membership.keys.suspects(membership.group.name)]


def suspects(link: Link, membership: Membership) -> list[str]:
    """Return the tokens of the group's suspects in the streams that it reads."""
    found = link.call("HKEYS", membership.keys.suspects(membership.group.name))
    return [each for each in found if split_token(each)[0] in membership.origins]


def suspect(link: Link, membership: Membership, delivery: Delivery, handler: str, how: str) -> int | None:
    """Write down that the dead consumer was running this, and `how` it ended.

    Returns how many runs of it were begun in quarantine, or None if it isn't that consumer's now.
    """
    keys = [delivery.key, membership.keys.suspects(membership.group.name)]
    place = [membership.group.name, membership.consumer, delivery.entry_id]
    runs = run(link, script("suspect")(keys, *place, handler, how))
    return None if runs is None else int(runs)


def try_suspect(link: Link, membership: Membership, name: str) -> Tried:
    """Claim a suspect by its token, for a run that is written down before it begins."""
    keys, group = membership.keys, membership.group.name
    key, entry_id = split_token(name)
    verdict, *found = run(
        link,
        script("try_suspect")(
            [key, keys.totals(group), keys.suspects(group), *limit_keys(membership)],
            group, membership.consumer, entry_id, membership.group.max_crashes, *limit_words(membership),
        ),
    )  # fmt: skip
    if not found:
        return Tried(vanished=verdict == "vanished", limited=verdict == "limited")
    (delivery,) = deliveries(membership.origins[key], key, [found[0]])
    return Tried(delivery, Crashed(*found[1:]) if verdict == "crashed" else None)


def take_back(link: Link, membership: Membership, name: str) -> None:
    """Uncount the run that was written down for this consumer: a stop came in between."""
    key, entry_id = split_token(name)
    keys = [key, membership.keys.suspects(membership.group.name)]
    run(link, script("take_back")(keys, membership.group.name, membership.consumer, entry_id))


def body_of(link: Link, membership: Membership, names: Sequence[str]) -> list[Delivery]:
    """Return these entries, by their tokens, without those that have no body any more."""
    found: list[Delivery] = []
    for name in names:
        key, entry_id = split_token(name)
        if key in membership.origins:
            found += deliveries(membership.origins[key], key, link.call("XRANGE", key, entry_id, entry_id))
    return found
