"""Whether handlers with `once` have the table that remembers what had its effect: the inbox of their database."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connections

from .. import conf, handlers
from ..inbox.presence import LABEL, TABLE, is_installed
from ..querying import Question, has_table, how_to_make
from .findings import Code, Finding

__all__ = ["Inboxes"]


class Inboxes:
    """Asks each database whose inbox a handler needs, beginning now. Without the app the handlers can't be loaded."""

    def __init__(self) -> None:
        self._names = _needed() if is_installed() else {}
        self._questions = {alias: Question(alias, _has_inbox) for alias in sorted(self._names)}

    def findings(self, until: float) -> Iterator[Finding]:
        """Find the tables that are missing; of a database that hasn't answered by then (monotonic), say that."""
        for alias, question in self._questions.items():
            found = question.answer(until)
            yield from _of_database(alias, ", ".join(self._names[alias]), found, question.error)


def _has_inbox(alias: str) -> bool:
    return has_table(alias, TABLE)


def _of_database(alias: str, names: str, found: bool | None, error: str) -> Iterator[Finding]:
    """Find that a database hasn't the table, or (None) hasn't said; `names` are the handlers that need it."""
    subject = f"database {alias!r}"
    if found is None:
        yield Finding(
            code=Code.INBOX_UNASKED,
            subject=subject,
            message=f"The inbox can't be looked at: nobody knows whether {names} can run.",
            evidence=error or "It gave no answer in time.",
            fix="Start the database, or mend what the error names.",
        )
    elif not found:
        yield Finding(
            code=Code.INBOX_MISSING,
            subject=subject,
            message="Messages of handlers with once wait, and aren't handled: the inbox has no table.",
            evidence=f"With once={alias!r}: {names}; and {subject} has no table of the inbox.",
            fix=how_to_make(LABEL, alias),
        )


def _needed() -> dict[str, list[str]]:
    """Return the databases that handlers of declared streams need an inbox in, each with the names of those."""
    try:
        found = [each for each in handlers.registered() if each.once and each.stream in conf.get().streams]
    except Exception:  # noqa: BLE001  a module of the project may raise anything; `handlers-fail` tells of it
        return {}
    needed: dict[str, list[str]] = {}
    for each in found:
        # An alias that is no database is an error of `check`.
        if each.atomic and each.atomic in connections:
            needed.setdefault(each.atomic, []).append(each.name)
    return needed
