"""Trimming by length and age, never past what a group still needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...conf import StreamConfig
from ...connections import Link
from ..scripts import Command, run, script

__all__ = ["drop", "excess_commands", "has_excess", "low_water_mark", "trim"]

# One step is short for the server; there may be more to remove.
_MOST_AT_ONCE = 10_000
# So many entries more than MAXLEN are left to go with the next whole node, as trim.lua does.
_TOLERATED = 100


def excess_commands(stream: StreamConfig) -> list[Command]:
    """Ask, for `has_excess`, how long the lanes of a stream are, and for their first entries; none without a limit."""
    keys = list(map(stream.keys.lane, stream.lane_names))
    commands: list[Command] = []
    if stream.maxlen is not None:
        commands += [["XLEN", key] for key in keys]
    if stream.max_age is not None:
        commands += [["XRANGE", key, "-", "+", "COUNT", 1] for key in keys]
    return commands


def has_excess(stream: StreamConfig, replies: Sequence[Any], now_ms: int) -> bool:
    """Return whether `trim` has something to do, if no group needs it; `now_ms` is the server's time since 1970.

    That costs the server a command for each limit and lane, and `trim` about ten.
    """
    lanes = len(stream.lane_names)
    lengths = replies[:lanes] if stream.maxlen is not None else ()
    firsts = replies[-lanes:] if stream.max_age is not None else ()
    most = (stream.maxlen or 0) + (0 if stream.exact_trim else _TOLERATED)
    oldest = now_ms - (stream.max_age or 0.0) * 1000
    return any(length > most for length in lengths) or any(
        int(entries[0][0].partition("-")[0]) < oldest for entries in firsts if entries
    )


def trim(link: Link, stream: StreamConfig) -> int:
    """Trim each lane of a stream by its MAXLEN and MAX_AGE, a bounded step; return how many entries were removed.

    It is done when that is 0.
    """
    if stream.maxlen is None and stream.max_age is None:
        return 0
    age = "" if stream.max_age is None else round(stream.max_age * 1000)
    length = "" if stream.maxlen is None else stream.maxlen
    exactly = "1" if stream.exact_trim else "0"
    keys = map(stream.keys.lane, stream.lane_names)
    return sum(int(run(link, script("trim")([key], length, age, exactly, _MOST_AT_ONCE))) for key in keys)


def low_water_mark(link: Link, key: str) -> str | None:
    """Return the id before which no group needs anything; None for a stream without a group, which nobody may trim."""
    found = run(link, script("trim")([key], "", "", "0", 0))
    return None if found is None else str(found)


def drop(link: Link, key: str, *, maxlen: int | None, before: str | None, exact: bool) -> int:
    """Remove what is beyond a length or before an id, whoever still needs it; return how many entries."""
    how = "=" if exact else "~"
    removed = 0
    if maxlen is not None:
        removed += int(link.call("XTRIM", key, "MAXLEN", how, maxlen))
    if before is not None:
        removed += int(link.call("XTRIM", key, "MINID", how, before))
    return removed
