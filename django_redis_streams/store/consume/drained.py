"""Whether groups have nothing left to do now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from ...connections import Link
from ...keys import paused_field
from ..scripts import Command, exchange, script
from .membership import Membership

__all__ = ["Standstill", "standstill"]

# For each group, of each stream that it reads, the last id ever and the last that it was given; () if it is paused.
Standstill: TypeAlias = tuple[tuple[str, ...], ...]


def standstill(link: Link, memberships: Iterable[Membership]) -> Standstill | None:
    """Return where groups stand if none has anything unread, pending, due or redelivered; else None.

    What is due later doesn't count, nor does what waits in a paused group. The groups are looked at one after another,
    so one look proves nothing. Two looks that find the same prove that at a moment between them nothing was left in any
    group: no entry came or was delivered meanwhile, and without that nothing becomes pending, due or redelivered.
    """
    states: list[tuple[str, ...]] = []
    for reply in exchange(link, [_command(each) for each in memberships]):
        if isinstance(reply, Exception):
            raise reply
        if reply is None:
            return None
        states.append(tuple(reply))
    return tuple(states)


def _command(membership: Membership) -> Command:
    keys, group = membership.keys, membership.group.name
    names = [keys.groups, keys.delayed, keys.retry(group), *membership.sources]
    return script("left")(names, group, paused_field(group))
