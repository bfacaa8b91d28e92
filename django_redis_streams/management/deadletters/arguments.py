"""The arguments of `manage.py deadletters` that select dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core.management.base import CommandParser

from ... import conf
from ...operations.dead_letters import Search, Selection
from ...outcomes import Reason
from ..arguments import count, seconds

__all__ = ["add_selection", "search"]

_FOREIGN: Final = "foreign"


def add_selection(parser: CommandParser, *, scan: int | None) -> None:
    """Add the arguments that select dead letters. `scan` is how many are looked through by default."""
    parser.add_argument("ids", nargs="*", metavar="id", help="Ids of dead letters, or of their messages.")
    parser.add_argument("--stream", default=None, help="Of this stream (default: of all).")
    parser.add_argument("--group", default=None, help="That failed in this group, declared or not.")
    parser.add_argument("--type", default=None, help="Of this type.")
    reasons = [*(each.value for each in Reason), _FOREIGN]
    parser.add_argument("--reason", default=None, help=f"For this reason: {', '.join(reasons)}; or another text.")
    parser.add_argument("--error", default="", metavar="TEXT", help="With this text in the error or traceback.")
    parser.add_argument("--search", default="", metavar="WORDS", help="With each of these words anywhere.")
    age: dict[str, Any] = {"type": seconds, "default": None, "metavar": "AGE"}
    parser.add_argument("--older-than", **age, help="Dead-lettered longer ago: 90s, 5m, 1h.")
    parser.add_argument("--newer-than", **age, help="Dead-lettered since then: 90s, 5m, 1h.")
    looked = parser.add_mutually_exclusive_group()
    said = f"{scan:,}" if scan else "all"
    looked.add_argument(
        "--scan", type=count, default=scan, metavar="N", help=f"Look through so many at most (default: {said})."
    )
    looked.add_argument("--all", dest="scan", action="store_const", const=None, help="Look through all.")


def search(options: Mapping[str, Any], *, newest_first: bool = False, bodies: bool = False) -> Search:
    """Return a search for the dead letters that the options select, with their `bodies` or without.

    Raises `UnknownStream`, and the server's errors.
    """
    stream, reason = options["stream"], options["reason"]
    selection = Selection(
        stream=conf.stream(stream).name if stream is not None else None,
        group=options["group"],
        type=options["type"],
        reason="" if reason == _FOREIGN else reason,
        error=options["error"],
        text=options["search"],
        older_than=options["older_than"],
        newer_than=options["newer_than"],
        ids=options["ids"],
    )
    return Search(selection, newest_first=newest_first, most=options["scan"], bodies=bodies)
