"""`manage.py deadletters list`: show dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from django.core.management.base import CommandParser

from ...inspection import DeadLetter
from ..arguments import count
from ..output import document
from ..subcommands import Result, Subcommand
from ..tables import ago, table
from .arguments import add_selection, search
from .as_json import dead_letter_as_json, search_as_json

__all__ = ["LIST"]

_SCAN: Final = 10_000
_LIMIT: Final = 50
_HEAD: Final = ("id", "stream", "group", "type", "reason", "attempts", "age", "error")


def _add_arguments(parser: CommandParser) -> None:
    """Add the arguments of `list`."""
    add_selection(parser, scan=_SCAN)
    parser.add_argument("--limit", type=count, default=_LIMIT, help=f"List so many at most (default: {_LIMIT}).")


def _lines(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a table, newest dead letter first, and then how far the search went."""
    look = search(options, newest_first=True, bodies=options["json"])
    found = islice(look, options["limit"])
    if options["json"]:
        yield from document("dead_letters", map(dead_letter_as_json, found), lambda: search_as_json(look))
        return
    rows = list(found)
    if rows:
        yield from table(_HEAD, map(_cells, rows))
    else:
        yield "No dead letter fits." if look.total else "There are no dead letters."
    if not look.finished and look.searched < look.total:
        more = "--limit" if len(rows) == options["limit"] else "--scan N or --all"
        yield f"Searched {look.searched} of {look.total}; go on with {more}."


def _cells(row: DeadLetter) -> Sequence[str]:
    reason = row.reason if row.native else "foreign"
    return (
        row.entry_id, row.stream, row.group or "-", row.type or "-", reason, str(row.attempts),
        ago(row.age.total_seconds()), row.error,
    )  # fmt: skip


LIST: Final = Subcommand(
    name="list",
    help="Lists dead letters, newest first.",
    add_arguments=_add_arguments,
    run=lambda options: Result(as_json=None, lines=_lines(options)),
)
