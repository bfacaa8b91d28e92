"""`manage.py streams consumers list` and `remove`: show a group's consumers, and remove their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ... import inspection
from ...operations import groups
from ..options import add_by, by
from ..subcommands import Result, Subcommand
from ..tables import ago, amount, table
from .labels import Target, add_groups, target, targets

__all__ = ["CONSUMERS", "REMOVE_CONSUMERS"]


def _run_consumers(options: Mapping[str, Any]) -> Result:
    found = [_consumer(where, each) for where in targets(options["groups"]) for each in inspection.consumers(*where)]
    head = ("group", "consumer", "holds", "heard of", "state")
    cells = (
        (
            f"{each['stream']}:{each['group']}",
            each["consumer"],
            amount(each["pending"]),
            ago(each["idle"]),
            each["state"],
        )
        for each in found
    )
    return Result(
        as_json={"consumers": found}, lines=list(table(head, cells)) if found else ["No group has a consumer."]
    )


def _consumer(where: Target, each: inspection.ConsumerState) -> Mapping[str, Any]:
    state = "released" if each.returned else "alive" if each.alive else "silent"
    return {
        "stream": where[0], "group": where[1], "consumer": each.name, "pending": each.pending, "idle": each.idle,
        "state": state,
    }  # fmt: skip


def _add_remove(parser: CommandParser) -> None:
    parser.add_argument("group", metavar="stream:group", help="Of which group.")
    parser.add_argument("consumers", nargs="+", metavar="consumer", help="Which consumers.")
    parser.add_argument("--release", action="store_true", help="Give what they hold back to the workers first.")
    add_by(parser)


def _run_remove(options: Mapping[str, Any]) -> Result:
    stream, group = target(options["group"])
    held = {each.name: each.pending for each in inspection.consumers(stream, group)}
    if unknown := [each for each in options["consumers"] if each not in held]:
        raise CommandError(f"{stream}:{group} has no consumer {', '.join(map(repr, unknown))}.", returncode=2)
    removals, code = [], 0
    for name in options["consumers"]:
        done = groups.remove_consumer(stream, group, name, release=options["release"], by=by(options))
        code = code if done else 1
        removals.append({"consumer": name, "removed": done, "held": held[name]})
    return Result(as_json={"consumers": removals}, lines=list(map(_removal, removals)), code=code)


def _removal(removal: Mapping[str, Any]) -> str:
    if removal["removed"]:
        return f"{removal['consumer']} was removed."
    return f"{removal['consumer']} holds {amount(removal['held'])} messages and stays. --release gives them back."


CONSUMERS: Final = Subcommand(
    name="consumers list", help="Shows the consumers of groups, and what each holds.",
    add_arguments=add_groups, run=_run_consumers,
)  # fmt: skip
REMOVE_CONSUMERS: Final = Subcommand(
    name="consumers remove", help="Removes consumers that hold nothing; with --release, any.",
    add_arguments=_add_remove, run=_run_remove,
)  # fmt: skip
