"""The output of sub-commands that list messages or act on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, TypeVar

from django.core.management.base import CommandParser

from ...inspection import MessageRecord, Page, visible
from ...inspection.paging import taken
from ...store.operate.bulk import Answers
from ..arguments import count
from ..output import document
from ..subcommands import Result
from ..tables import table

__all__ = ["add_search", "answered", "listed"]

_LIMIT: Final = 50
_AT_ONCE: Final = 100

R = TypeVar("R", bound=MessageRecord)


def add_search(parser: CommandParser) -> None:
    """Add the arguments that say which messages are listed, and how many."""
    parser.add_argument("--stream", default=None, help="Of this stream (default: of all).")
    parser.add_argument("--type", default=None, help="Of this type.")
    parser.add_argument("--search", default="", metavar="WORDS", help="With each of these words anywhere.")
    parser.add_argument("--limit", type=count, default=_LIMIT, help=f"List so many at most (default: {_LIMIT}).")


def listed(
    page: Page[R],
    name: str,
    head: Sequence[str],
    cells: Callable[[R], Sequence[str]],
    *,
    as_json: Callable[[R], Mapping[str, Any]] | None,
    find: Callable[[str, Sequence[R]], Sequence[R | None]],
    none: str,
) -> Result:
    """Return a page as a result: its rows under `name`, how far the search went, and its problems.

    The page has no bodies. JSON is written where there is `as_json`; what it has of the bodies is asked for a few rows
    at a time, by `find`, which returns rows of a stream with their bodies. The exit code is 1 if there are problems.
    """
    problems = [f"{each.stream}: {each.error}" for each in page.problems]
    code = 1 if problems else 0
    if as_json is not None:
        rest = {"searched": page.searched, "total": page.total, "problems": problems}
        rows = map(as_json, _with_bodies(page.rows, find))
        return Result(as_json=None, lines=document(name, rows, lambda: rest), code=code)
    lines = list(table(head, map(cells, page.rows))) if page.rows else [none]
    if page.next:
        lines.append(f"Searched {page.searched} of {page.total}; go on with --limit, or narrow it down.")
    return Result(as_json=None, lines=[*lines, *problems], code=code)


def _with_bodies(rows: Sequence[R], find: Callable[[str, Sequence[R]], Sequence[R | None]]) -> Iterator[R]:
    """Yield these rows with their bodies, without those that are gone by now."""
    waiting = iter(rows)
    while part := taken(waiting, _AT_ONCE, attrgetter("size")):
        for stream, theirs in groupby(part, attrgetter("stream")):
            yield from filter(None, find(stream, list(theirs)))


def answered(answers: Answers[str], done: str) -> Result:
    """Return a result that says what was `done`, what was refused and why, and what the server left unanswered.

    The exit code is 1 unless all is done.
    """
    refused = {token: str(why) for token, why in answers.refused.items()}
    lines = [f"{visible(token)}: {why}" for token, why in refused.items()]
    lines += [
        f"{visible(token)}: the server was lost before it answered; running it again is safe"
        for token in answers.unanswered
    ]
    as_json = {done: answers.done, "refused": refused, "unanswered": answers.unanswered}
    code = 1 if refused or answers.unanswered else 0
    return Result(as_json=as_json, lines=[*lines, f"{len(answers.done)} {done}."], code=code)
