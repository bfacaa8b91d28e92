"""Which streams of this package a server holds, declared or not, told by the keys beside them."""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from ...connections import Link
from ...keys import main_of_side, sides_pattern

__all__ = ["StreamsThere", "streams_there"]

# A server may hold millions of other keys. So many are looked at, and for no longer than so many seconds.
_AT_ONCE: Final = 1_000
_STEPS: Final = 200
_WITHIN: Final = 2.0


class StreamsThere(NamedTuple):
    """The keys of the streams that were found, and whether all keys of the server were looked at."""

    mains: AbstractSet[str]
    complete: bool


def streams_there(link: Link, prefix: str) -> StreamsThere:
    """Look for streams of a connection with this KEY_PREFIX; without one, other projects' streams are found too.

    A stream that no worker has ever read isn't found: nothing stands beside it. Raises the server's error, and of a
    cluster that of any node.
    """
    there = [_of_node(each, prefix) for each in link.each_node()]
    return StreamsThere({main for each in there for main in each.mains}, all(each.complete for each in there))


def _of_node(link: Link, prefix: str) -> StreamsThere:
    found: set[str] = set()
    cursor, until = "0", time.monotonic() + _WITHIN
    for _ in range(_STEPS):
        cursor, keys = link.call("SCAN", cursor, "MATCH", sides_pattern(prefix), "COUNT", _AT_ONCE)
        found.update(main for main in map(main_of_side, keys) if main is not None)
        if cursor == "0":
            return StreamsThere(found, complete=True)
        if time.monotonic() > until:
            break
    return StreamsThere(found, complete=False)
