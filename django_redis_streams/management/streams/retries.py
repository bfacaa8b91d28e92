"""`manage.py streams retries list` and `discard`: what failed, and waits for its next run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core.management.base import CommandParser

from ... import conf, inspection, waiting
from ...inspection import RetryingMessage, visible
from ..options import add_by, by
from ..tables import table
from .arguments import count
from .subcommand import Result, Subcommand

__all__ = ["DISCARD_RETRIES", "LIST_RETRIES"]

_LIMIT: Final = 50


def _add_list(parser: CommandParser) -> None:
    parser.add_argument("--stream", default=None, help="Of this stream (default: of all).")
    parser.add_argument("--group", default=None, help="Of this group, declared or not.")
    parser.add_argument("--type", default=None, help="Of this type.")
    parser.add_argument("--search", default="", metavar="WORDS", help="With each of these words anywhere.")
    parser.add_argument("--limit", type=count, default=_LIMIT, help=f"List so many at most (default: {_LIMIT}).")


def _add_discard(parser: CommandParser) -> None:
    parser.add_argument("stream", help="The stream of the group.")
    parser.add_argument("group", help="The group that retries them, declared or not.")
    parser.add_argument("tokens", nargs="+", metavar="token", help="Which ones, as `list` tells them.")
    add_by(parser)


def _list(options: Mapping[str, Any]) -> Result:
    stream = options["stream"]
    page = inspection.retrying(
        stream=conf.stream(stream).name if stream is not None else None,
        group=options["group"],
        type=options["type"],
        text=options["search"],
        count=options["limit"],
    )
    problems = [f"{each.stream}: {each.error}" for each in page.problems]
    head = ("token", "stream", "group", "type", "attempts", "due", "error")
    lines = list(table(head, map(_cells, page.rows))) if page.rows else ["No waiting retry fits."]
    if page.next:
        lines.append(f"Searched {page.searched} of {page.total}; go on with --limit, or narrow it down.")
    told = {"retries": [_told(row) for row in page.rows], "searched": page.searched, "total": page.total}
    return Result(told={**told, "problems": problems}, lines=[*lines, *problems], code=1 if problems else 0)


def _discard(options: Mapping[str, Any]) -> Result:
    answers = waiting.discard_retries(options["stream"], options["group"], options["tokens"], by=by(options))
    refused = {token: str(why) for token, why in answers.refused.items()}
    lines = [f"{visible(token)}: {why}" for token, why in refused.items()]
    lines += [f"{visible(token)}: the server was lost before it answered" for token in answers.unanswered]
    told = {"discarded": answers.done, "refused": refused, "unanswered": answers.unanswered}
    code = 1 if refused or answers.unanswered else 0
    return Result(told=told, lines=[*lines, f"{len(answers.done)} discarded."], code=code)


def _cells(row: RetryingMessage) -> tuple[str, ...]:
    due = row.due.isoformat(timespec="seconds")
    return row.token, row.stream, row.group, row.type or "-", str(row.attempts), due, row.error


def _told(row: RetryingMessage) -> dict[str, Any]:
    texts = {name: getattr(row, name) for name in ("token", "stream", "group", "lane", "message_id", "type", "handler")}
    shown = {name: visible(text) for name, text in {**texts, "error": row.error, "payload": row.payload}.items()}
    return {**shown, "attempts": row.attempts, "due": row.due.isoformat()}


LIST_RETRIES: Final = Subcommand(
    name="retries list", help="Lists waiting retries, the next first.", add_arguments=_add_list, run=_list
)
DISCARD_RETRIES: Final = Subcommand(
    name="retries discard",
    help="Deletes waiting retries for good, though they weren't handled.",
    add_arguments=_add_discard,
    run=_discard,
)
