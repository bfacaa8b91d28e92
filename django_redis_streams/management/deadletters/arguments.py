"""What the arguments of `manage.py deadletters` mean: which dead letters, how old, how fast."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.core.management.base import CommandParser

from ... import conf
from ...deadletters import Search, Selection
from ...outcomes import Reason

__all__ = ["add_selection", "count", "rate", "search"]

_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)", re.ASCII)
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)(?:/([smhd]))?", re.ASCII)
_NOT_OURS: Final = "not ours"


def add_selection(parser: CommandParser, *, scan: int | None) -> None:
    """Which are meant: all that fit everything that is said. `scan` is how many are looked through unless told."""
    parser.add_argument("ids", nargs="*", metavar="id", help="Ids of dead letters, or of their messages.")
    parser.add_argument("--stream", default=None, help="Of this stream (default: of all).")
    parser.add_argument("--group", default=None, help="That failed in this group, declared or not.")
    parser.add_argument("--type", default=None, help="Of this type.")
    reasons = [*(each.value for each in Reason), _NOT_OURS]
    parser.add_argument("--reason", default=None, help=f"For this reason: {', '.join(reasons)}; or another text.")
    parser.add_argument("--error", default="", metavar="TEXT", help="With this text in the error or traceback.")
    parser.add_argument("--search", default="", metavar="WORDS", help="With each of these words anywhere.")
    parser.add_argument("--older-than", type=_age, default=None, metavar="AGE", help="Buried longer ago: 90s, 5m, 1h.")
    parser.add_argument("--newer-than", type=_age, default=None, metavar="AGE", help="Buried since then: 90s, 5m, 1h.")
    looked = parser.add_mutually_exclusive_group()
    said = f"{scan:,}" if scan else "all"
    looked.add_argument(
        "--scan", type=count, default=scan, metavar="N", help=f"Look through so many at most (default: {said})."
    )
    looked.add_argument("--all", dest="scan", action="store_const", const=None, help="Look through all.")


def search(options: Mapping[str, Any], *, newest_first: bool) -> Search:
    """A look for what is meant. Raises `UnknownStream`, and what asking the server raises."""
    now = datetime.now(UTC)
    stream, reason = options["stream"], options["reason"]
    selection = Selection(
        stream=conf.stream(stream).name if stream is not None else None,
        group=options["group"],
        type=options["type"],
        reason="" if reason == _NOT_OURS else reason,
        error=options["error"],
        text=options["search"],
        before=_ago(now, options["older_than"]),
        after=_ago(now, options["newer_than"]),
        ids=options["ids"],
    )
    return Search(selection, newest_first=newest_first, most=options["scan"])


def count(text: str) -> int:
    """A whole number above 0."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"{text!r}: expected a whole number above 0.")
    return int(text)


def rate(text: str) -> float:
    """So many a second."""
    found = _RATE.fullmatch(text)
    if not found or not float(found[1]):
        raise ArgumentTypeError(f"{text!r}: expected a rate above 0, such as 50/s, 100/m or 1000/h.")
    return float(found[1]) / _SECONDS[found[2] or "s"]


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text)
    try:
        if found:
            return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        pass
    raise ArgumentTypeError(f"{text!r}: expected an age, such as 90s, 5m, 1h, 7d or 2w.")


def _ago(now: datetime, age: timedelta | None) -> datetime | None:
    if age is None:
        return None
    # What is older than any entry can be.
    first = datetime(1970, 1, 1, tzinfo=UTC)
    return now - age if age < now - first else first
