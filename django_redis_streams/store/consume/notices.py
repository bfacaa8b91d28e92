"""Notices: scripts tell workers that sleep to look sooner than they would by themselves.

Each process reads all of them, from a small stream beside the stream that they are about. They only save time: what
they tell of is found without them, too, if later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from redis.exceptions import ResponseError

from ...connections import Link
from ..scripts import Command
from .asking import ask_each

__all__ = ["Kind", "Notice", "last_ids", "notices", "wait_command"]

_NONE: Final = "0-0"


class Kind(StrEnum):
    """What a notice tells of."""

    # Something waits that is due before the promoter looks by itself.
    DUE = "due"
    # Something of a group may be claimed at once.
    CLAIMABLE = "claimable"
    # A group was paused.
    PAUSED = "paused"


class Notice(NamedTuple):
    """One entry of the notices under `key`.

    `group` is "" where it is about no group. `kind` is None where another client has written something else.
    """

    key: str
    entry_id: str
    kind: Kind | None
    group: str


def last_ids(link: Link, keys: Sequence[str]) -> Sequence[str | ResponseError]:
    """Return the id of the last notice under each key, or the server's error."""
    replies = ask_each(link, [["XREVRANGE", key, "+", "-", "COUNT", 1] for key in keys])
    return [reply if isinstance(reply, ResponseError) else reply[0][0] if reply else _NONE for reply in replies]


def wait_command(after: Mapping[str, str], block_ms: int) -> Command:
    """Wait up to `block_ms` for notices; `after` has the id of the last that is known, by key."""
    return ["XREAD", "BLOCK", block_ms, "STREAMS", *after, *after.values()]


def notices(reply: Any) -> Iterator[Notice]:
    """Yield the notices that a reply to `wait_command` holds."""
    known = {*Kind}
    for key, entries in reply or ():
        for entry_id, (kind, group, *_) in entries:
            yield Notice(key, entry_id, Kind(kind) if kind in known else None, group)
