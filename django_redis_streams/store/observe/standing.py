"""How a stream stands on its server: its groups lane by lane, what is overdue, and who is suspected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...conf import StreamConfig
from ...connections import Link
from ...keys import deleted_field
from ..consume.clock import ClockRecord, clock_record
from ..consume.groups import Deletion, deletion
from ..replies import pairs
from ..scripts import Command

__all__ = ["Standing", "standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """`groups` are those that are on the stream of each lane, declared or not, None where there is no such stream.

    `overdue` is how many retries of each declared group should have been run for a while, `delayed` how many messages
    should have come, and `suspects` how many entries of each may have ended a worker. `clock` is what is known of the
    server's. `deletions` are those of groups that were deleted on purpose.
    """

    groups: Mapping[str, Sequence[str] | None]
    overdue: Mapping[str, int]
    delayed: int
    suspects: Mapping[str, int]
    clock: ClockRecord
    deletions: Mapping[str, Deletion]


def standing(link: Link, stream: StreamConfig, *, overdue_for: float) -> Standing:
    """How it stands; what is due for so many seconds and still there is overdue. Raises the server's error."""
    keys = stream.keys
    clock = clock_record(link, keys, stream.lane_names)
    due = clock.now - overdue_for * 1000
    asked: list[Command] = [["ZCOUNT", keys.delayed, "-inf", due]]
    asked += [["ZCOUNT", keys.retry(group), "-inf", due] for group in stream.groups]
    asked += [["HLEN", keys.suspects(group)] for group in stream.groups]
    asked += [["HGET", keys.groups, deleted_field(group)] for group in stream.groups]
    asked += [["XINFO", "GROUPS", keys.lane(lane)] for lane in stream.lane_names]
    replies = iter(link.call_many(asked))
    delayed = _told(next(replies))
    overdue = {group: _told(next(replies)) for group in stream.groups}
    suspects = {group: _told(next(replies)) for group in stream.groups}
    deletions = {group: deletion(_told(next(replies))) for group in stream.groups}
    groups = {lane: _names(next(replies)) for lane in stream.lane_names}
    known = {group: each for group, each in deletions.items() if each is not None}
    return Standing(groups, overdue, delayed, suspects, clock, known)


def _told(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply


def _names(reply: Any) -> Sequence[str] | None:
    if isinstance(reply, Exception) and "no such key" in str(reply):
        return None
    return [pairs(row)["name"] for row in _told(reply)]
