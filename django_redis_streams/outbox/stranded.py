"""Rows in a database that a router keeps the table out of: no relay looks there, and no figures tell of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import connections
from django.db.models.functions import Now

from ..querying import has_table
from .databases import TableMissing, aliases, asking
from .presence import TABLE
from .standing import all_rows, unsent

__all__ = ["StrandedRows", "stranded"]

# In seconds: for so long a row is to be overdue. A replica may be behind.
_OVERDUE: Final = 60
_MOST: Final = 500


@dataclass(frozen=True, slots=True)
class StrandedRows:
    """How many rows of each stream nobody sends, the oldest so many seconds old; at most 500 in all are counted."""

    streams: Mapping[str, int]
    oldest: float


def stranded(alias: str) -> StrandedRows | None:
    """Return what is overdue in a database whose table no relay looks into; None where nothing is.

    What a database with a relay has, too, is sent from there: a replica shows the rows of its primary. Raises
    `OutboxUnavailable`. It opens connections, and closes those to other databases.
    """
    with asking(alias):
        if not has_table(alias, TABLE):
            return None
        late = unsent(alias).filter(next_try_at__lt=Now() - timedelta(seconds=_OVERDUE)).order_by("pk")
        rows = list(late.values_list("message_id", "stream", "created_at", Now())[:_MOST])
    elsewhere = _relayed([identity for identity, *_ in rows]) if rows else set()
    streams: dict[str, int] = {}
    oldest = 0.0
    for identity, stream, created, now in rows:
        if identity not in elsewhere:
            streams[stream] = streams.get(stream, 0) + 1
            oldest = max(oldest, (now - created).total_seconds())
    return StrandedRows(streams, oldest) if streams else None


def _relayed(identities: Sequence[str]) -> AbstractSet[str]:
    """Return which of these messages databases with a relay have."""
    found: set[str] = set()
    for alias in aliases():
        try:
            with asking(alias):
                found.update(all_rows(alias).filter(message_id__in=identities).values_list("message_id", flat=True))
        except TableMissing:
            pass
        finally:
            connections[alias].close()
    return found
