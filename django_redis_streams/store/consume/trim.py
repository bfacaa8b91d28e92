"""Trimming by length and age, never past what a group still needs."""

from __future__ import annotations

from ...conf import StreamConfig
from ...connections import Link
from ..scripts import run, script

__all__ = ["drop", "low_water_mark", "trim"]

# One step is short for the server; there may be more to remove.
_MOST_AT_ONCE = 10_000


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
