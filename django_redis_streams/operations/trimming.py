"""An operator's actions on a stream that is too long: trim it now, by its settings or by other limits.

For commands. The worker trims by itself, by the settings alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .. import conf, connections
from ..connections import Link
from ..store.consume import trim as store
from ..store.consume.books import watch
from ..store.observe.contents import MOST_COUNTED, length, span
from ..store.observe.sources import group_names

__all__ = ["Excess", "drop", "excess", "trim"]

logger = logging.getLogger("django_redis_streams")


@dataclass(frozen=True, slots=True)
class Excess:
    """The entries beyond the limits: `free` ones that no group needs any more, `needed` ones that some still need.

    10,000 stands for that many or more.
    """

    free: int
    needed: int


def excess(stream: str, *, maxlen: int | None, max_age: float | None) -> Mapping[str, Excess]:
    """Return the excess over a length or an age in seconds, for each lane's key.

    Raises `UnknownStream`, and the server's errors. If a stream has no group, all its excess counts as needed, since a
    group may still be made.
    """
    config = conf.stream(stream)
    link = connections.get(config.connection)
    return {key: _excess(link, key, maxlen, max_age) for key in map(config.keys.lane, config.lane_names)}


def _excess(link: Link, key: str, maxlen: int | None, max_age: float | None) -> Excess:
    beyond = 0 if maxlen is None else max(0, length(link, key) - maxlen)
    if max_age is not None:
        beyond = max(beyond, span(link, key, "-", f"({_cutoff(max_age)}"))
    mark = store.low_water_mark(link, key)
    free = 0 if mark is None else min(beyond, span(link, key, "-", f"({mark}"))
    return Excess(min(free, MOST_COUNTED), min(beyond - free, MOST_COUNTED))


def trim(stream: str, *, maxlen: int | None, max_age: float | None, exact: bool, by: str) -> int:
    """Trim a stream to a length and an age, never past an entry that a group needs; return how many were removed."""
    config = replace(conf.stream(stream), maxlen=maxlen, max_age=max_age, exact_trim=exact)
    link = connections.get(config.connection)
    removed = 0
    while step := store.trim(link, config):
        removed += step
    _log(stream, removed, by)
    return removed


def drop(stream: str, *, maxlen: int | None, max_age: float | None, exact: bool, by: str) -> int:
    """Trim a stream even of entries that groups need: unread ones are lost, pending ones can't be run any more."""
    config = conf.stream(stream)
    link = connections.get(config.connection)
    before = None if max_age is None else f"{_cutoff(max_age)}-0"
    (groups,) = group_names(link, [config])
    watch(link, config, groups)
    keys = map(config.keys.lane, config.lane_names)
    removed = sum(store.drop(link, key, maxlen=maxlen, before=before, exact=exact) for key in keys)
    # Entries that are missing since the first `watch` were lost by this trimming.
    watch(link, config, groups, lost="dropped")
    _log(stream, removed, by)
    return removed


def _cutoff(max_age: float) -> int:
    return max(0, time.time_ns() // 1_000_000 - round(max_age * 1000))


def _log(stream: str, removed: int, by: str) -> None:
    logger.info("%s was trimmed by %r: %d entries removed.", stream, by, removed, extra={"stream": stream, "by": by})
