"""The output of sub-commands that list messages or act on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from django.core.management.base import CommandParser

from ...inspection import MessageRecord, Page, visible
from ...store.operate.bulk import Answers
from ..arguments import count
from ..subcommands import Result
from ..tables import table

__all__ = ["add_search", "answered", "listed"]

_LIMIT: Final = 50

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
    as_json: Callable[[R], Mapping[str, Any]],
    *,
    none: str,
) -> Result:
    """Return a page as a result: its rows under `name`, how far the search went, and its problems.

    The exit code is 1 if there are problems.
    """
    problems = [f"{each.stream}: {each.error}" for each in page.problems]
    lines = list(table(head, map(cells, page.rows))) if page.rows else [none]
    if page.next:
        lines.append(f"Searched {page.searched} of {page.total}; go on with --limit, or narrow it down.")
    known = {name: [as_json(row) for row in page.rows], "searched": page.searched, "total": page.total}
    return Result(as_json={**known, "problems": problems}, lines=[*lines, *problems], code=1 if problems else 0)


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
