"""`manage.py deadletters show`: all that is known of some dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ...inspection import DeadLetter
from ..output import document
from ..subcommands import Result, Subcommand
from .arguments import search
from .as_json import dead_letter_as_json

__all__ = ["SHOW"]


def _add_arguments(parser: CommandParser) -> None:
    """Add the arguments of `show`."""
    parser.add_argument("ids", nargs="+", metavar="id", help="Ids of dead letters, or of their messages.")
    parser.add_argument("--stream", default=None, help="Of this stream (default: of all).")
    parser.set_defaults(
        group=None, type=None, reason=None, error="", search="", older_than=None, newer_than=None, scan=None
    )


def _lines(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield all that is known of some dead letters. Raises `CommandError` if one of them isn't there."""
    look = search(options, newest_first=True, bodies=True)
    if options["json"]:
        yield from document("dead_letters", map(dead_letter_as_json, look))
    else:
        for row in look:
            yield from _facts(row)
    if missing := look.missing:
        raise CommandError(f"There is no dead letter {', '.join(missing)}. `deadletters list` shows the ids.")


def _facts(row: DeadLetter) -> Iterator[str]:
    for name, value in dead_letter_as_json(row).items():
        if name == "fields":
            yield from (f"  {field}: {text}" for field, text in value)
        elif value not in (None, "", 0):
            lines = str(value).splitlines()
            yield f"{name}: {value}" if len(lines) == 1 else "\n".join([f"{name}:", *(f"  {each}" for each in lines)])
        if name == "original_payload":
            yield "fields:"
    yield ""


SHOW: Final = Subcommand(
    name="show",
    help="Shows all that is known of some.",
    add_arguments=_add_arguments,
    run=lambda options: Result(as_json=None, lines=_lines(options)),
)
