"""`manage.py streams pause` and `resume`: whether workers read a group's messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from django.core.management.base import CommandParser

from ...operations import groups
from ..options import add_by, by
from ..subcommands import Result, Subcommand
from .labels import Target, target

__all__ = ["PAUSE", "RESUME"]


def _add_arguments(parser: CommandParser) -> None:
    parser.add_argument("groups", nargs="+", metavar="stream:group", help="Which groups.")
    add_by(parser)


def _run(change: Callable[..., bool], done: str, before: str, options: Mapping[str, Any]) -> Result:
    # Check all names before acting on any.
    targets = list(dict.fromkeys(target(name) for name in options["groups"]))
    who = by(options)
    changed = {each: change(*each, by=who) for each in targets}
    return Result(as_json={"groups": list(_as_json(changed))}, lines=list(_lines(changed, done, before)))


def _as_json(changed: Mapping[Target, bool]) -> Iterable[Mapping[str, Any]]:
    for (stream, group), was_changed in changed.items():
        yield {"stream": stream, "group": group, "changed": was_changed}


def _lines(changed: Mapping[Target, bool], done: str, before: str) -> Iterable[str]:
    for (stream, group), was_changed in changed.items():
        yield f"{stream}:{group} {done if was_changed else before}."


PAUSE: Final = Subcommand(
    name="pause",
    help="Stops workers from reading the messages of groups until they are resumed.",
    add_arguments=_add_arguments,
    run=partial(_run, groups.pause, "is paused", "was paused before"),
)
RESUME: Final = Subcommand(
    name="resume",
    help="Lets workers read the messages of paused groups again.",
    add_arguments=_add_arguments,
    run=partial(_run, groups.resume, "is resumed", "wasn't paused"),
)
