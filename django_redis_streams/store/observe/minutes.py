"""What the workers of a group did, minute by minute: a hash for each minute, which expires by itself.

Minutes are counted since 1970 by the server's clock, for who writes and for who reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ...conf import StreamConfig
from ...keys import StreamKeys
from ..replies import pairs
from ..scripts import Command, script

__all__ = [
    "KEPT_MINUTES",
    "LONGEST",
    "MICROSECONDS",
    "RUNS",
    "Minutes",
    "count_command",
    "minutes_command",
    "minutes_of",
]

KEPT_MINUTES: Final = 120

# How many runs of handlers, how long all of them took, and the longest.
RUNS: Final = "runs"
MICROSECONDS: Final = "microseconds"
LONGEST: Final = "longest"


class Minutes(NamedTuple):
    """The figures of the last minutes at `now`, the server's time in ms since 1970: for each group, the oldest first.

    A name that isn't among the figures of a minute counts 0.
    """

    now: int
    groups: Mapping[str, Sequence[Mapping[str, int]]]


def count_command(keys: StreamKeys, group: str, figures: Mapping[str, int], longest: int) -> Command:
    """Add figures to those of this minute; `longest` is the longest run among them, in microseconds."""
    words = [word for figure in figures.items() for word in figure]
    return script("count")([keys.main, keys.stats(group)], group, KEPT_MINUTES * 60, longest, *words)


def minutes_command(stream: StreamConfig, minutes: int) -> Command:
    """Ask for the figures of a stream's declared groups in the last minutes, for `minutes_of`."""
    return script("minutes")([stream.keys.stats(group) for group in stream.groups], minutes)


def minutes_of(stream: StreamConfig, reply: Any) -> Minutes:
    """Return the figures that the server replied with."""
    now, *groups = reply
    rows = zip(stream.groups, groups, strict=True)
    return Minutes(now, {group: [_counted(each) for each in minutes] for group, minutes in rows})


def _counted(reply: Any) -> Mapping[str, int]:
    return {name: int(count) for name, count in pairs(reply).items()}
