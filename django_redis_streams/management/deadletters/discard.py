"""`manage.py deadletters discard`: delete dead letters for good, after a confirmation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ...operations import dead_letters
from ..options import by
from ..subcommands import Result, Subcommand
from .arguments import search
from .running import add_run, confirm, run

__all__ = ["DISCARD"]


def _discard(options: Mapping[str, Any]) -> Iterator[str]:
    """Discard the selected dead letters after a confirmation, and yield the result."""
    look, who = search(options), by(options)
    confirm(options, "discarded", " for good", most=0)
    yield from run(look, "discarded", lambda rows: dead_letters.discard_each(rows, by=who, rate=options["rate"]),
                   options)  # fmt: skip


DISCARD: Final = Subcommand(
    name="discard",
    help="Deletes them for good.",
    add_arguments=add_run,
    run=lambda options: Result(as_json=None, lines=_discard(options)),
)
