"""How many messages wait in each database, for how long, and what the server said of them: one query a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min, Q
from django.db.models.functions import Now

from ..querying import Exactly
from .databases import OutboxUnavailable, aliases, asking
from .standing import ROWS, SENT, UNSENT, Standing, all_rows

__all__ = ["DatabaseFigures", "StreamFigures", "figures", "figures_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFigures:
    """One stream's rows in one database, by the database's clock.

    `unsent` messages are committed and not on the server. The oldest of them is `oldest` seconds old, 0 without one.
    `overdue` ones should have been tried by now, the first of them so many seconds ago: `late`. `refused` ones
    were tried and not taken, the last with `error`. `kept` ones are on the server.
    """

    stream: str
    unsent: int
    oldest: float
    overdue: int
    late: float
    refused: int
    error: str
    kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFigures:
    """One database's rows by stream, or the `problem` that kept them from being read."""

    database: str
    streams: Mapping[str, StreamFigures] = field(default_factory=dict)
    problem: OutboxUnavailable | None = None

    @property
    def unsent(self) -> int:
        """How many messages of the database aren't on the server."""
        return sum(each.unsent for each in self.streams.values())


def figures() -> Sequence[DatabaseFigures]:
    """Return the figures of every database; one that can't be asked is told of by its `problem`."""
    return [figures_of(alias) for alias in aliases()]


def figures_of(alias: str) -> DatabaseFigures:
    """Return the figures of one database, or its problem."""
    overdue, refused = UNSENT & Q(next_try_at__lte=Now()), ROWS[Standing.REFUSED]
    by_stream = (
        all_rows(alias)
        .values("stream", exact=Exactly("stream"))
        .annotate(
            now=Now(),
            unsent=Count("pk", filter=UNSENT),
            oldest=Min("created_at", filter=UNSENT),
            overdue=Count("pk", filter=overdue),
            late=Min("next_try_at", filter=overdue),
            refused=Count("pk", filter=refused),
            refused_last=Max("pk", filter=refused),
            kept=Count("pk", filter=SENT),
        )
    )
    try:
        with asking(alias):
            found = list(by_stream)
            keys = [each["refused_last"] for each in found if each["refused"]]
            errors = _errors(alias, keys) if keys else {}
    except OutboxUnavailable as problem:
        return DatabaseFigures(database=alias, problem=problem)
    streams = {each["stream"]: _of_stream(each, errors.get(each["refused_last"], "")) for each in found}
    return DatabaseFigures(database=alias, streams=streams)


def _errors(alias: str, keys: Sequence[int]) -> dict[int, str]:
    return dict(all_rows(alias).filter(pk__in=keys).values_list("pk", "error"))


def _of_stream(row: Mapping[str, Any], error: str) -> StreamFigures:
    now = row["now"]
    return StreamFigures(
        stream=row["stream"],
        unsent=row["unsent"],
        oldest=_seconds(row["oldest"], now),
        overdue=row["overdue"],
        late=_seconds(row["late"], now),
        refused=row["refused"],
        error=error,
        kept=row["kept"],
    )


def _seconds(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since) / timedelta(seconds=1))
