"""What the workers of a group did, minute by minute: a hash for each minute, which expires by itself.

Minutes are counted since 1970 by the clock of the host that writes or reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...conf import StreamConfig
from ...keys import StreamKeys
from ..replies import pairs
from ..scripts import Command, script

__all__ = ["KEPT_MINUTES", "LONGEST", "MICROSECONDS", "RUNS", "count_command", "counted", "minute_commands"]

KEPT_MINUTES: Final = 120

# How many runs of handlers, how long all of them took, and the longest.
RUNS: Final = "runs"
MICROSECONDS: Final = "microseconds"
LONGEST: Final = "longest"


def count_command(keys: StreamKeys, group: str, minute: int, figures: Mapping[str, int], longest: int) -> Command:
    """Add figures to those of a minute; `longest` is the longest run among them, in microseconds."""
    words = [word for figure in figures.items() for word in figure]
    return script("count")([keys.main, keys.stats(group, minute)], group, KEPT_MINUTES * 60, longest, *words)


def minute_commands(stream: StreamConfig, group: str, minutes: Iterable[int]) -> list[Command]:
    """Ask for the figures of some minutes, for `counted`."""
    return [["HGETALL", stream.keys.stats(group, minute)] for minute in minutes]


def counted(reply: Any) -> Mapping[str, int]:
    """Return the figures that the server replied with; a name that isn't there counts 0."""
    return {name: int(count) for name, count in pairs(reply).items()}
