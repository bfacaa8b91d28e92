"""The figures of a stream and its declared groups, by one script: its time doesn't depend on how much there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...conf import StreamConfig
from ...keys import paused_field
from ..consume.groups import paused_since
from ..scripts import Command, script

__all__ = ["GroupFigures", "LaneFigures", "SourceFigures", "StreamFigures", "overview_command", "overview_of"]


class LaneFigures(NamedTuple):
    """One lane's stream. `first` is None where it is empty."""

    length: int
    last_generated: str
    first: str | None


class SourceFigures(NamedTuple):
    """A group on one stream that it reads. Ids are None where there is no such entry, `lag` where it isn't known."""

    length: int
    pending: int
    last_delivered: str
    lag: int | None
    oldest_unread: str | None
    oldest_pending: str | None


class GroupFigures(NamedTuple):
    """One group: of each lane the lane's own source and that of redelivery, None where the group isn't there.

    `paused` is since when, in ms since 1970. `consumers` are those that were seen within CLAIM_IDLE.
    """

    retrying: int
    paused: int | None
    consumers: int
    sources: Sequence[tuple[SourceFigures | None, SourceFigures | None]]


class StreamFigures(NamedTuple):
    """One stream at `now`, the server's time in ms. `strangers` are groups that are there and not declared."""

    now: int
    dead_letters: int
    strangers: int
    lanes: Sequence[LaneFigures]
    groups: Sequence[GroupFigures]
    delayed: int


def overview_command(stream: StreamConfig) -> Command:
    """Asks for the figures of a stream and the groups that it declares, for `overview_of`."""
    keys, lanes = stream.keys, stream.lane_names
    names = [keys.dlq, keys.groups, *map(keys.lane, lanes)]
    words: list[str | float] = [len(lanes)]
    for group in stream.groups.values():
        names += [keys.retry(group.name), *(keys.redelivery(group.name, lane) for lane in lanes)]
        words += [group.name, paused_field(group.name), round(group.claim_idle * 1000)]
    return script("overview")([*names, keys.delayed], *words)


def overview_of(reply: Any) -> StreamFigures:
    """The figures that the script replied with."""
    now, dead_letters, strangers, lanes, groups, delayed = reply
    return StreamFigures(
        now, dead_letters, strangers, [LaneFigures(*each) for each in lanes], list(map(_group, groups)), delayed
    )


def _group(reply: Any) -> GroupFigures:
    retrying, paused, consumers, sources = reply
    figures = [None if each is None else SourceFigures(*each) for each in sources]
    pairs = list(zip(figures[::2], figures[1::2], strict=True))
    return GroupFigures(retrying, paused_since(paused), consumers, pairs)
