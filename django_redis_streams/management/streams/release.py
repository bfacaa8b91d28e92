"""`manage.py streams release`: give the messages of silent consumers back to the workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core.management.base import CommandParser

from ... import inspection
from ...conf import group as declared_group
from ...operations import waiting
from ..arguments import count
from ..options import add_by, add_dry_run, add_no_input, by, confirmed, undone
from ..subcommands import Result, Subcommand
from ..tables import amount
from .labels import Target, add_groups, targets

__all__ = ["RELEASE"]

_SCAN: Final = 10_000


def _add_arguments(parser: CommandParser) -> None:
    add_groups(parser)
    scan_help = f"Look at so many a group (default: {_SCAN:,})."
    parser.add_argument("--scan", type=count, default=_SCAN, metavar="N", help=scan_help)
    add_dry_run(parser)
    add_no_input(parser)
    add_by(parser)


def _run(options: Mapping[str, Any]) -> Result:
    found = {where: _stale(where, options["scan"]) for where in targets(options["groups"])}
    number = sum(map(len, found.values()))
    what = f"{amount(number)} message{'s' * (number != 1)} of silent consumers would be released to the workers."
    if options["dry_run"] or (number > 1 and not confirmed(what, options)):
        result, line = undone(what, "release", options)
        return Result(
            as_json={
                "groups": [_counts(where) for where in found], "would_be_released": number, "result": result,
            },
            lines=[line],
        )  # fmt: skip
    counts = [_released(where, entries, by(options)) for where, entries in found.items()]
    lines = [
        f"{each['stream']}:{each['group']}: {amount(each['released'])} released to the workers, "
        f"{amount(each['refused'])} refused."
        + (f" The server was lost before it answered for {amount(each['unanswered'])}." if each["unanswered"] else "")
        for each in counts
    ]
    failed = any(each["refused"] or each["unanswered"] for each in counts)
    return Result(as_json={"groups": counts, "result": "released"}, lines=lines, code=1 if failed else 0)


def _stale(where: Target, scan: int) -> list[tuple[str, str, str]]:
    """Return the entries that are idle for CLAIM_IDLE, and that nobody has released yet."""
    stream, group = where
    idle = declared_group(stream, group).claim_idle
    stale = inspection.longest_pending(stream, group, idle=idle, most=scan).messages
    return [(each.source, each.entry_id, each.consumer) for each in stale if not each.returned]


def _released(where: Target, entries: list[tuple[str, str, str]], who: str) -> dict[str, Any]:
    """Release entries to `returned`, from where the next free worker claims them."""
    answers = waiting.release(*where, entries, by=who)
    return _counts(where, len(answers.done), len(answers.refused), len(answers.unanswered))


def _counts(where: Target, released: int = 0, refused: int = 0, unanswered: int = 0) -> dict[str, Any]:
    stream, group = where
    return {
        "stream": stream, "group": group, "released": released, "refused": refused, "unanswered": unanswered,
    }  # fmt: skip


RELEASE: Final = Subcommand(
    name="release",
    help="Gives what silent consumers hold back to the workers.",
    add_arguments=_add_arguments,
    run=_run,
)
