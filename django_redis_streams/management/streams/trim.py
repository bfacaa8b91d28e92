"""`manage.py streams trim`: make a stream shorter now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ... import conf, inspection
from ...operations import trimming
from ..arguments import length, seconds
from ..options import add_by, add_dry_run, add_no_input, by, confirmed, undone
from ..subcommands import Result, Subcommand
from ..tables import amount

__all__ = ["TRIM"]


def _add_arguments(parser: CommandParser) -> None:
    parser.add_argument("stream", help="Which stream.")
    parser.add_argument("--maxlen", type=length, default=None, metavar="N", help="Keep so many (default: its MAXLEN).")
    age = "Keep what is younger: 90s, 5m, 1h, 7d (default: its MAX_AGE)."
    parser.add_argument("--max-age", type=seconds, default=None, metavar="AGE", help=age)
    parser.add_argument("--exact", action="store_true", help="Trim to the exact entry, not by whole blocks of memory.")
    parser.add_argument("--force", action="store_true", help="Also remove entries that a group hasn't read or settled.")
    add_dry_run(parser)
    add_no_input(parser)
    add_by(parser)


def _run(options: Mapping[str, Any]) -> Result:
    stream, limits = _limits(options)
    beyond = trimming.excess(stream, **limits)
    free = sum(each.free for each in beyond.values())
    needed = sum(each.needed for each in beyond.values())
    as_json: dict[str, Any] = {"stream": stream, "free": free, "needed": needed, "removed": 0}
    what = f"{stream}: {amount(free)} entries beyond the limit can go; some group still needs {amount(needed)} more."
    loses = options["force"] and needed
    if options["dry_run"] or (loses and not confirmed(f"{what} These would be lost.", options)):
        result, line = undone(what, "trim", options)
        return Result(as_json={**as_json, "result": result}, lines=[line, *_blind(stream, limits)])
    act = trimming.drop if options["force"] else trimming.trim
    removed = act(stream, **limits, exact=options["exact"], by=by(options))
    lines = [f"{stream}: {amount(removed)} entries removed."]
    if needed and not options["force"]:
        lines.append(
            f"{amount(needed)} more are beyond the limit but stay, because some group hasn't finished with them."
        )
    return Result(as_json={**as_json, "removed": removed, "result": "trimmed"}, lines=lines + _blind(stream, limits))


def _blind(stream: str, limits: Mapping[str, Any]) -> list[str]:
    """Return what a limit by age can't see: entries whose ids lie in the future, as nobody knows when they came."""
    if limits["max_age"] is None:
        return []
    ahead = [each.clock.ids_ahead for each in inspection.overview(stream).streams if each.clock.ids_ahead]
    return [
        f"The newest ids are {seconds:,.0f} s ahead of the server's clock: a limit by age doesn't remove such entries, "
        "--maxlen does. See: manage.py streams doctor"
        for seconds in ahead
    ]


def _limits(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    declared = conf.stream(options["stream"])
    given = {"maxlen": options["maxlen"], "max_age": options["max_age"]}
    if given == {"maxlen": None, "max_age": None}:
        given = {"maxlen": declared.maxlen, "max_age": declared.max_age}
    if given == {"maxlen": None, "max_age": None}:
        raise CommandError(f"{declared.name} has neither MAXLEN nor MAX_AGE. Give --maxlen or --max-age.", returncode=2)
    return declared.name, given


TRIM: Final = Subcommand(name="trim", help="Trims a stream now.", add_arguments=_add_arguments, run=_run)
