"""`manage.py streams doctor`: what is wrong with streams, the evidence, and what fixes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.core.management.base import CommandParser

from ...diagnosis import Finding, Level, diagnose
from ...inspection import visible
from ..subcommands import Result, Subcommand

__all__ = ["DOCTOR"]


def _add_arguments(parser: CommandParser) -> None:
    levels = [each.value for each in Level]
    level_help = "Leave out what is less bad: fault, warning or information (default: information)."
    parser.add_argument("--level", choices=levels, default=Level.INFORMATION.value, help=level_help)


def _run(options: Mapping[str, Any]) -> Result:
    found = diagnose()
    levels = list(Level)
    shown = [each for each in found if levels.index(each.level) <= levels.index(Level(options["level"]))]
    counts = {level.value: sum(each.level is level for each in found) for level in Level}
    return Result(
        as_json={"findings": list(map(_as_json, shown)), "counts": counts},
        lines=list(_lines(shown, counts)),
        code=1 if counts[Level.FAULT] else 0,
    )


def _as_json(finding: Finding) -> Mapping[str, str]:
    return {
        "code": finding.code.value,
        "level": finding.level.value,
        "subject": finding.subject,
        "message": finding.message,
        "evidence": finding.evidence,
        "fix": finding.fix,
    }


def _lines(found: Sequence[Finding], counts: Mapping[str, int]) -> Iterator[str]:
    for each in found:
        yield visible(f"{each.level.value.upper()} {each.subject}: {each.message} [{each.code.value}]")
        yield visible(f"    evidence: {each.evidence}")
        yield visible(f"    fix: {each.fix}")
    yield ", ".join(f"{count} {_word(level, count)}" for level, count in counts.items()) + "."


def _word(level: str, count: int) -> str:
    if level == Level.INFORMATION.value:
        return "for information"
    return level if count == 1 else f"{level}s"


DOCTOR: Final = Subcommand(
    name="doctor",
    help="Finds what is wrong with streams, and says what fixes it: exit code 1 where there is a fault.",
    add_arguments=_add_arguments,
    run=_run,
)
