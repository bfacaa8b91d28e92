"""`manage.py deadletters list` and `show`: what is there, and all that is known of one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ...inspection import DeadLetter, visible
from ...operations.dead_letters import Search
from ..arguments import count
from ..subcommands import Result, Subcommand
from ..tables import ago, table
from .arguments import add_selection, search

__all__ = ["LIST", "SHOW", "far", "told"]

_SCAN: Final = 10_000
_LIMIT: Final = 50
_HEAD: Final = ("id", "stream", "group", "type", "reason", "attempts", "age", "error")


def _add_list(parser: CommandParser) -> None:
    """The arguments of `list`."""
    add_selection(parser, scan=_SCAN)
    parser.add_argument("--limit", type=count, default=_LIMIT, help=f"List so many at most (default: {_LIMIT}).")


def _listed(options: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table, newest first, and how far was looked."""
    look = search(options, newest_first=True)
    rows = list(islice(look, options["limit"]))
    if options["json"]:
        yield json.dumps({"dead_letters": [told(row) for row in rows], **far(look)})
        return
    if rows:
        yield from table(_HEAD, map(_cells, rows))
    else:
        yield "No dead letter fits." if look.total else "There are no dead letters."
    if not look.finished and look.searched < look.total:
        more = "--limit" if len(rows) == options["limit"] else "--scan N or --all"
        yield f"Searched {look.searched} of {look.total}; go on with {more}."


def _add_show(parser: CommandParser) -> None:
    """The arguments of `show`."""
    parser.add_argument("ids", nargs="+", metavar="id", help="Ids of dead letters, or of their messages.")
    parser.add_argument("--stream", default=None, help="Of this stream (default: of all).")
    parser.set_defaults(
        group=None, type=None, reason=None, error="", search="", older_than=None, newer_than=None, scan=None
    )


def _shown(options: Mapping[str, Any]) -> Iterator[str]:
    """All that is known of some. Raises `CommandError` where one isn't there."""
    rows = list(search(options, newest_first=True))
    if options["json"]:
        yield json.dumps({"dead_letters": [told(row) for row in rows]})
    else:
        for row in rows:
            yield from _facts(row)
    known = {each for row in rows for each in (row.entry_id, row.message_id)}
    if missing := [each for each in options["ids"] if each not in known]:
        raise CommandError(f"There is no dead letter {', '.join(missing)}.")


def told(row: DeadLetter) -> dict[str, Any]:
    """A dead letter as JSON: text that isn't UTF-8 is written out."""
    return {
        "id": row.entry_id, "stream": row.stream, "group": visible(row.group), "lane": visible(row.lane),
        "message_id": visible(row.message_id), "type": visible(row.type), "reason": visible(row.reason),
        "native": row.native, "attempts": row.attempts, "handler": visible(row.handler), "error": visible(row.error),
        "traceback": visible(row.traceback), "dead_lettered_at": row.dead_lettered_at.isoformat(),
        "first_failed": row.first_failed and row.first_failed.isoformat(),
        "last_failed": row.last_failed and row.last_failed.isoformat(),
        "replays": row.replays, "replayed_by": visible(row.replayed_by), "edited_by": visible(row.edited_by),
        "published_as": f"{visible(row.key)} {visible(row.published_id)}", "payload": visible(row.payload),
        "original_payload": visible(row.original_payload),
        "fields": [[visible(name), visible(value)] for name, value in row.pairs],
    }  # fmt: skip


def far(look: Search) -> dict[str, Any]:
    """How far was looked."""
    return {"searched": look.searched, "total": look.total, "finished": look.finished}


def _facts(row: DeadLetter) -> Iterator[str]:
    for name, value in told(row).items():
        if name == "fields":
            yield from (f"  {field}: {text}" for field, text in value)
        elif value not in (None, "", 0):
            lines = str(value).splitlines()
            yield f"{name}: {value}" if len(lines) == 1 else "\n".join([f"{name}:", *(f"  {each}" for each in lines)])
        if name == "original_payload":
            yield "fields:"
    yield ""


def _cells(row: DeadLetter) -> Sequence[str]:
    reason = row.reason if row.native else "not ours"
    return (
        row.entry_id, row.stream, row.group or "-", row.type or "-", reason, str(row.attempts),
        ago((datetime.now(UTC) - row.dead_lettered_at).total_seconds()), row.error,
    )  # fmt: skip


LIST: Final = Subcommand(
    name="list",
    help="Lists dead letters, newest first.",
    add_arguments=_add_list,
    run=lambda options: Result(told=None, lines=_listed(options)),
)
SHOW: Final = Subcommand(
    name="show",
    help="Shows all that is known of some.",
    add_arguments=_add_show,
    run=lambda options: Result(told=None, lines=_shown(options)),
)
