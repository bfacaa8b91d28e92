"""`manage.py streams release`: give the messages of silent consumers back to the workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core.management.base import CommandParser

from ... import inspection
from ...conf import group as declared_group
from ...operations import waiting
from ..arguments import count
from ..options import add_by, by
from ..subcommands import Result, Subcommand
from ..tables import amount
from .labels import Target, add_groups, targets

__all__ = ["RELEASE"]

_SCAN: Final = 10_000


def _add_arguments(parser: CommandParser) -> None:
    add_groups(parser)
    scan_help = f"Look at so many a group (default: {_SCAN:,})."
    parser.add_argument("--scan", type=count, default=_SCAN, metavar="N", help=scan_help)
    add_by(parser)


def _run(options: Mapping[str, Any]) -> Result:
    who = by(options)
    counts = [_released(where, options["scan"], who) for where in targets(options["groups"])]
    lines = [
        f"{each['stream']}:{each['group']}: {amount(each['released'])} released to the workers, "
        f"{amount(each['refused'])} refused."
        + (f" The server was lost before it answered for {amount(each['unanswered'])}." if each["unanswered"] else "")
        for each in counts
    ]
    failed = any(each["refused"] or each["unanswered"] for each in counts)
    return Result(as_json={"groups": counts}, lines=lines, code=1 if failed else 0)


def _released(where: Target, scan: int, who: str) -> dict[str, Any]:
    """Release the entries that are idle for CLAIM_IDLE to `returned`, from where the next free worker claims them."""
    stream, group = where
    idle = declared_group(stream, group).claim_idle
    stale = inspection.longest_pending(stream, group, idle=idle, most=scan).messages
    entries = [(each.source, each.entry_id, each.consumer) for each in stale if not each.returned]
    answers = waiting.release(stream, group, entries, by=who)
    return {
        "stream": stream, "group": group, "released": len(answers.done), "refused": len(answers.refused),
        "unanswered": len(answers.unanswered),
    }  # fmt: skip


RELEASE: Final = Subcommand(
    name="release",
    help="Gives what silent consumers hold back to the workers.",
    add_arguments=_add_arguments,
    run=_run,
)
