"""Whether messages wait in a database where a router keeps the outbox's table out: nobody sends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..outbox.presence import LABEL, is_installed
from ..querying import Question
from .findings import Code, Finding

if TYPE_CHECKING:
    from ..outbox.stranded import StrandedRows

__all__ = ["Strandings"]


class Strandings:
    """Asks each database that no relay looks into, beginning now; nothing without the app.

    One that doesn't answer is no finding: it has nothing to do with the outbox.
    """

    def __init__(self) -> None:
        self._questions: dict[str, Question[StrandedRows | None]] = {}
        if is_installed():
            # Models can't be imported where their app isn't installed.
            from ..outbox.databases import forbidden  # noqa: PLC0415
            from ..outbox.stranded import stranded  # noqa: PLC0415  as above

            self._questions = {alias: Question(alias, stranded) for alias in forbidden()}

    def findings(self, until: float) -> Iterator[Finding]:
        """Find the rows of those that have answered by then (monotonic)."""
        for alias, question in self._questions.items():
            if rows := question.answer(until):
                yield _of_database(alias, rows)


def _of_database(alias: str, rows: StrandedRows) -> Finding:
    counts = ", ".join(f"{count:,} of {stream}" for stream, count in sorted(rows.streams.items()))
    return Finding(
        code=Code.OUTBOX_FORBIDDEN,
        subject=f"database {alias!r}",
        message="Messages are committed and not sent: a router keeps the outbox out of their database.",
        evidence=(
            f"The database {alias!r} holds {counts}, the oldest {rows.oldest:,.0f} s old, which no other database has. "
            f"DATABASE_ROUTERS keep {LABEL!r} out of it, so no relay looks there."
        ),
        fix=(
            f"Have the routers' allow_migrate() return True or None for {LABEL!r} there until they are sent. Or look "
            f"at them by `streams outbox list --database {alias}`, and discard them by "
            f"`streams outbox discard --all --database {alias}`."
        ),
    )
