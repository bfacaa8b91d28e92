"""Grouping streams by server: each server costs one round trip, however many of its streams are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from ..conf import StreamConfig

__all__ = ["by_server"]


def by_server(streams: Iterable[StreamConfig]) -> list[list[StreamConfig]]:
    """Return these streams, grouped by connection, in their order."""
    alias = attrgetter("connection")
    return [list(theirs) for _, theirs in groupby(sorted(streams, key=alias), alias)]
