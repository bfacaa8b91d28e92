"""`manage.py deadletters discard`: delete dead letters for good, after a confirmation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ...operations import dead_letters
from ..options import add_no_input, by, confirmed
from ..subcommands import Result, Subcommand
from .arguments import search
from .running import add_run, run

__all__ = ["DISCARD"]


def _add_arguments(parser: CommandParser) -> None:
    add_run(parser)
    add_no_input(parser)


def _discard(options: Mapping[str, Any]) -> Iterator[str]:
    """Discard the selected dead letters after a confirmation, and yield the result."""
    if not options["dry_run"]:
        number = sum(1 for _ in islice(search(options, newest_first=False), options["limit"]))
        if number and not confirmed(f"{number} dead letters would be discarded for good.", options):
            raise CommandError("Nothing was discarded.")
    look, who = search(options, newest_first=False), by(options)
    yield from run(look, "discarded", lambda rows: dead_letters.discard_each(rows, by=who, rate=options["rate"]),
                   options)  # fmt: skip


DISCARD: Final = Subcommand(
    name="discard",
    help="Deletes them for good.",
    add_arguments=_add_arguments,
    run=lambda options: Result(as_json=None, lines=_discard(options)),
)
