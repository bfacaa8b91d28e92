"""`manage.py streams tail`: the messages of a stream as they come; no group loses them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ...following import follow
from ...inspection import visible
from ...keys import DEFAULT_LANE
from ...message import Message
from ..arguments import count
from ..subcommands import Result, Subcommand

__all__ = ["TAIL"]


def _add_arguments(parser: CommandParser) -> None:
    add = parser.add_argument
    add("stream", help="Which stream.")
    after_help = '"$": what is new (default); "0": first show all that is there; or what follows this entry id.'
    add("--after", default="$", metavar="ID", help=after_help)
    add("--lane", default=None, help="Only this lane (default: all).")
    add("--count", type=count, default=None, metavar="N", help="End after N messages.")
    add("--no-wait", dest="block", action="store_const", const=0, default=None, help="End when there is nothing more.")


def _run(options: Mapping[str, Any]) -> Result:
    try:
        # `follow` asks the server at once, so a stream that can't be followed is an error before the first line.
        messages = follow(options["stream"], after=options["after"], lane=options["lane"], block=options["block"])
    except ValueError as error:
        raise CommandError(str(error), returncode=2) from error
    line = _as_json if options["json"] else _as_text
    # Never read a message after the last of N: it would be waited for.
    return Result(as_json=None, lines=map(line, islice(messages, options["count"])), follows=True)


def _as_json(message: Message) -> str:
    return json.dumps(
        {
            "entry_id": message.entry_id, "lane": message.lane, "time": message.time.isoformat(), "id": message.id,
            "type": message.type, "key": message.key, "headers": dict(message.headers), "payload": message.payload,
        }
    )  # fmt: skip


def _as_text(message: Message) -> str:
    lane = "" if message.lane == DEFAULT_LANE else f"[{message.lane}] "
    payload = json.dumps(message.payload, ensure_ascii=False)
    head = f"{message.time.isoformat(timespec='milliseconds')} {message.entry_id} {lane}{message.type or '-'}"
    # A message is one line, even if its type holds a line feed.
    return visible(f"{head} {payload}").replace("\n", "\\n")


TAIL: Final = Subcommand(
    name="tail",
    help=(
        "Waits for new messages of a stream and shows each, until Ctrl-C. It takes them from no group. "
        "What is already there is shown with --after 0; with --no-wait too, the command ends after that."
    ),
    add_arguments=_add_arguments,
    run=_run,
)
