"""Which streams are asked for together: each server costs a round trip, whatever it is asked."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from ..conf import StreamConfig

__all__ = ["by_server"]


def by_server(streams: Iterable[StreamConfig]) -> list[list[StreamConfig]]:
    """Return these streams, those of one connection together, in their order."""
    alias = attrgetter("connection")
    return [list(theirs) for _, theirs in groupby(sorted(streams, key=alias), alias)]
