"""What a person does about a stream that is too long: trim it now, by its settings or by others.

For commands; the worker trims by itself, by the settings alone.
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
    """What is beyond the limits: `free` of it no group needs any more, `needed` of it some group still does.

    10,000 stands for that many or more.
    """

    free: int
    needed: int


def excess(stream: str, *, maxlen: int | None, max_age: float | None) -> Mapping[str, Excess]:
    """For each lane's key what is beyond a length or an age in seconds.

    Raises `UnknownStream`, and what a server answers. Without a group nobody can tell who is yet to come: then all
    of it counts as needed.
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
    """Trim a stream to a length and an age, never past what a group still needs; how many entries were removed."""
    config = replace(conf.stream(stream), maxlen=maxlen, max_age=max_age, exact_trim=exact)
    link = connections.get(config.connection)
    removed = 0
    while step := store.trim(link, config):
        removed += step
    _log(stream, removed, by)
    return removed


def drop(stream: str, *, maxlen: int | None, max_age: float | None, exact: bool, by: str) -> int:
    """Trim a stream whoever still needs it: what is unread is lost, what is pending can't be run any more."""
    config = conf.stream(stream)
    link = connections.get(config.connection)
    before = None if max_age is None else f"{_cutoff(max_age)}-0"
    (groups,) = group_names(link, [config])
    watch(link, config, groups)
    keys = map(config.keys.lane, config.lane_names)
    removed = sum(store.drop(link, key, maxlen=maxlen, before=before, exact=exact) for key in keys)
    # What is missing since then was lost by this.
    watch(link, config, groups, lost="dropped")
    _log(stream, removed, by)
    return removed


def _cutoff(max_age: float) -> int:
    return max(0, time.time_ns() // 1_000_000 - round(max_age * 1000))


def _log(stream: str, removed: int, by: str) -> None:
    logger.info("%s was trimmed by %r: %d entries removed.", stream, by, removed, extra={"stream": stream, "by": by})
