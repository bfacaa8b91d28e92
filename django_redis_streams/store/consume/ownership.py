"""Holding what was delivered: renew it, look for it, claim what others left, hand it back.

All of it is fenced: only what is pending for a consumer is renewed or handed back, only what is idle for
long is claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from ...connections import Link
from ...keys import token
from ..replies import group_is_gone
from ..scripts import Command, run, script
from .delivery import Delivery, deliveries
from .limits import limit_keys, limit_words, slots_key
from .membership import RETURNED, Membership
from .settle import vanish_command

__all__ = [
    "Found",
    "bodies_commands",
    "claim",
    "claim_command",
    "claimed",
    "hand_back",
    "idle_commands",
    "is_held",
    "pending_of",
    "renew",
    "renew_all",
]

_RENEWED_AT_ONCE = 100
_HANDED_BACK_AT_ONCE = 100
_READ_AT_ONCE = 100


@dataclass(slots=True)
class Found:
    """Entries taken into hand, and the tokens of pending entries whose body was gone (acknowledged, counted)."""

    deliveries: list[Delivery] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)

    def add(self, more: Found) -> None:
        """Add what another has found."""
        self.deliveries += more.deliveries
        self.vanished += more.vanished


def renew(link: Link, membership: Membership, key: str, ids: list[str]) -> list[str]:
    """Renew these entries; return the tokens of those that aren't this consumer's any more."""
    keys = [key, *slots_key(membership)]
    named = membership.group.name, membership.consumer, membership.claim_idle_ms
    lost: list[str] = []
    for begin in range(0, len(ids), _RENEWED_AT_ONCE):
        part = ids[begin : begin + _RENEWED_AT_ONCE]
        lost += (token(key, each) for each in run(link, script("renew")(keys, *named, *part)))
    return lost


def is_held(link: Link, membership: Membership, delivery: Delivery) -> bool:
    """Return whether the entry is still pending for this consumer."""
    place = [delivery.key, membership.group.name]
    return bool(link.call("XPENDING", *place, delivery.entry_id, delivery.entry_id, 1, membership.consumer))


def pending_of(link: Link, membership: Membership, in_hand: Callable[[str], bool]) -> Found:
    """Return what is pending under this consumer's name and not in its hand: replies that never arrived.

    XPENDING and XRANGE count nothing; reading `0` would raise every delivery count.
    """
    found = Found()
    for key in membership.sources:
        ids = [each for each in _pending_ids(link, membership, key) if not in_hand(token(key, each))]
        for begin in range(0, len(ids), _READ_AT_ONCE):
            part = ids[begin : begin + _READ_AT_ONCE]
            (neighbours,) = link.call_many([_neighbours(key, part)])
            found.add(_taken(link, membership, key, part, neighbours))
    return found


def _neighbours(key: str, ids: Sequence[str]) -> Command:
    """Read the bodies of these ids, which ascend: all at once where they are neighbours, as they mostly are."""
    return ["XRANGE", key, ids[0], ids[-1], "COUNT", len(ids)]


def _taken(link: Link, membership: Membership, key: str, ids: Sequence[str], neighbours: Any) -> Found:
    """Return these pending entries, of which the reply to `_neighbours` may hold only some."""
    if isinstance(neighbours, Exception):
        raise neighbours
    entries, vanished = neighbours, []
    if [each[0] for each in entries] != ids:
        entries = _one_by_one(link, key, ids)
        there = frozenset(entry_id for entry_id, _ in entries)
        for gone in (each for each in ids if each not in there):
            run(link, vanish_command(membership, key, gone))
            vanished.append(token(key, gone))
    return Found(deliveries(membership.origins[key], key, entries), vanished)


def _one_by_one(link: Link, key: str, ids: Sequence[str]) -> list[Any]:
    entries: list[Any] = []
    for reply in link.call_many([["XRANGE", key, each, each] for each in ids]):
        if isinstance(reply, Exception):
            raise reply
        entries += reply
    return entries


def _pending_ids(link: Link, membership: Membership, key: str) -> Iterator[str]:
    begin, page = "-", 1000
    while True:
        rows = link.call("XPENDING", key, membership.group.name, begin, "+", page, membership.consumer)
        yield from (row[0] for row in rows)
        if len(rows) < page:
            return
        begin = f"({rows[-1][0]}"


def idle_commands(membership: Membership, idle_ms: int, *, returned_only: bool = False) -> list[Command]:
    """Ask each stream that the group reads for one entry that has been idle for so long.

    One that was handed back counts as idle for CLAIM_IDLE at once.
    """
    owner = [RETURNED] if returned_only else []
    group = membership.group.name
    return [["XPENDING", key, group, "IDLE", idle_ms, "-", "+", 1, *owner] for key in membership.sources]


def claim(link: Link, membership: Membership, count: int, *, idle_until: float) -> Found:
    """Claim up to `count` entries that nobody runs, handed back or idle for above CLAIM_IDLE; no suspects.

    Idle ones are claimed only until the server's clock shows `idle_until`, in ms since 1970: 0 never, infinity always.
    """
    reply = run(link, claim_command(membership, count, idle_until=idle_until))
    bodies = link.call_many(commands) if (commands := bodies_commands(membership, reply)) else []
    return claimed(link, membership, reply, bodies)


def claim_command(membership: Membership, count: int, *, idle_until: float) -> Command:
    """Return the command by which `claim` claims, in the order of reading."""
    keys, group = membership.keys, membership.group.name
    sides = [keys.totals(group), keys.suspects(group), *limit_keys(membership)]
    return script("claim")(
        [*sides, *membership.sources], group, membership.consumer,
        membership.claim_idle_ms, count, idle_until, *limit_words(membership),
    )  # fmt: skip


def bodies_commands(membership: Membership, reply: Any) -> list[Command]:
    """Return the commands that read what a reply to `claim_command` names."""
    return [_neighbours(key, ids) for key, (ids, _) in zip(membership.sources, reply, strict=True) if ids]


def claimed(link: Link, membership: Membership, reply: Any, bodies: Iterable[Any]) -> Found:
    """Return the entries in the replies to `claim_command` and `bodies_commands`, on a link that owes no reply."""
    found, rest = Found(), iter(bodies)
    for key, (ids, vanished) in zip(membership.sources, reply, strict=True):
        if ids:
            found.add(_taken(link, membership, key, ids, next(rest)))
        found.vanished += (token(key, each) for each in vanished)
    return found


def renew_all(link: Link, membership: Membership) -> None:
    """Renew all that is pending for a consumer that can't do so itself just now."""
    for key in membership.sources:
        renew(link, membership, key, list(_pending_ids(link, membership, key)))


def hand_back(link: Link, membership: Membership) -> tuple[int, list[str]]:
    """Hand back all that a consumer holds, and remove its name; return how many, and tokens of those without a body.

    A group that is gone holds nothing. If one stream is refused, the others are handed back before its error is raised.
    """
    handed, vanished = 0, []
    refused: ResponseError | None = None
    for key in membership.sources:
        try:
            for count, gone in _hand_back(link, membership, key):
                handed += count
                vanished += [token(key, each) for each in gone]
        except ResponseError as error:
            refused = refused if group_is_gone(error) else error
    if refused is not None:
        raise refused
    return handed, vanished


def _hand_back(link: Link, membership: Membership, key: str) -> Iterator[tuple[int, list[str]]]:
    keys, group = membership.keys, membership.group.name
    command = script("hand_back")(
        [key, keys.totals(group), keys.slots(group), keys.workers(group), keys.notices],
        group, membership.consumer, membership.claim_idle_ms, _HANDED_BACK_AT_ONCE,
    )  # fmt: skip
    left = 0
    while not left:
        count, vanished, left = run(link, command)
        yield count, vanished
