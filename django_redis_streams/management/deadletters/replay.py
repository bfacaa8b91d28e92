"""`manage.py deadletters replay`: give dead letters back to their groups, also with another payload."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ...exceptions import InvalidMessage
from ...operations import dead_letters
from ...operations.dead_letters import Search
from ..options import by
from ..subcommands import Result, Subcommand
from .arguments import search
from .as_json import dead_letter_as_json
from .payloads import edited, given
from .running import add_run, confirm, run

__all__ = ["REPLAY"]


def _add_arguments(parser: CommandParser) -> None:
    """Add the arguments of `replay`."""
    add_run(parser)
    edit = parser.add_mutually_exclusive_group()
    edit.add_argument("--edit", action="store_true", help="Edit the payload of the one message in $EDITOR before.")
    edit.add_argument("--payload", metavar="JSON", help='Give the one message this payload; "-": standard input.')


def _replay(options: Mapping[str, Any]) -> Iterator[str]:
    """Replay the selected dead letters, and yield the result."""
    edits = options["edit"] or options["payload"] is not None
    look = search(options, bodies=edits)
    if edits:
        yield from _replay_edited(look, options)
    else:
        confirm(options, "replayed", "", most=1)
        who = by(options)
        yield from run(look, "replayed", lambda rows: dead_letters.replay_each(rows, by=who, rate=options["rate"]),
                        options)  # fmt: skip


def _replay_edited(look: Search, options: Mapping[str, Any]) -> Iterator[str]:
    rows = list(islice(look, 2))
    if len(rows) != 1:
        raise CommandError(
            f"--edit and --payload take one dead letter, but {'several' if rows else 'none'} fit. Name its id, and "
            "its --stream.",
            returncode=2,
        )
    (row,) = rows
    payload = edited(row) if options["edit"] else given(options["payload"])
    dry_run = options["dry_run"]
    try:
        answers = dead_letters.replay_edited(row.stream, row.entry_id, payload, by=by(options), dry_run=dry_run)
    except InvalidMessage as error:
        raise CommandError(f"{error} Nothing was done.", returncode=2) from error
    for why in answers.refused.values():
        raise CommandError(str(why))
    if answers.unanswered:
        raise CommandError("The server was lost before it answered; running it again is safe.")
    if options["json"]:
        counted = {"would_be_replayed": 1, "payload": payload} if dry_run else {"replayed": 1}
        yield json.dumps({**counted, "dead_letter": dead_letter_as_json(row)})
    elif dry_run:
        yield f"{row.stream} {row.entry_id} would be replayed with {json.dumps(payload)}"
    else:
        yield "1 edited and replayed."


REPLAY: Final = Subcommand(
    name="replay",
    help="Gives them back to the groups that they failed in.",
    add_arguments=_add_arguments,
    run=lambda options: Result(as_json=None, lines=_replay(options)),
)
