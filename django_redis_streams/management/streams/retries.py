"""`manage.py streams retries list` and `discard`: messages that failed and wait for their next run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.core.management.base import CommandParser

from ... import conf, inspection
from ...inspection import RetryingMessage, visible
from ...operations import waiting
from ..options import add_by, by
from ..subcommands import Result, Subcommand
from .messages import add_search, answered, listed

__all__ = ["DISCARD_RETRIES", "LIST_RETRIES"]

_HEAD: Final = ("token", "stream", "group", "type", "attempts", "due", "error")


def _add_list(parser: CommandParser) -> None:
    add_search(parser)
    parser.add_argument("--group", default=None, help="Of this group, declared or not.")


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
        bodies=False,
    )
    as_json = _as_json if options["json"] else None
    return listed(page, "retries", _HEAD, _cells, as_json=as_json, find=_find, none="No waiting retry fits.")


def _discard(options: Mapping[str, Any]) -> Result:
    answers = waiting.discard_retries(options["stream"], options["group"], options["tokens"], by=by(options))
    return answered(answers, "discarded")


def _find(stream: str, rows: Sequence[RetryingMessage]) -> Sequence[RetryingMessage | None]:
    return inspection.find_retrying(stream, [(row.group, row.token) for row in rows])


def _cells(row: RetryingMessage) -> tuple[str, ...]:
    due = row.due.isoformat(timespec="seconds")
    return row.token, row.stream, row.group, row.type or "-", str(row.attempts), due, row.error


def _as_json(row: RetryingMessage) -> dict[str, Any]:
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
