"""`manage.py streams groups …`: make, reset and delete a group; reset and delete first say what they would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ...exceptions import GroupInUse
from ...operations import groups
from ..arguments import position
from ..options import add_by, add_dry_run, add_no_input, by, confirmed, undone
from ..subcommands import Result, Subcommand
from ..tables import amount
from .labels import any_target

__all__ = ["CREATE_GROUP", "DELETE_GROUP", "RESET_GROUP"]


def _add_group(parser: CommandParser) -> None:
    parser.add_argument("group", metavar="stream:group", help="The group; it needn't be declared.")
    add_by(parser)


def _add_position(parser: CommandParser) -> None:
    _add_group(parser)
    where = "0: with the oldest entry; $: with what comes from now on; or after an entry id."
    parser.add_argument("--start", type=position, required=True, metavar="POSITION", help=where)


def _add_careful(parser: CommandParser) -> None:
    add_no_input(parser)
    add_dry_run(parser)


def _add_reset(parser: CommandParser) -> None:
    _add_position(parser)
    _add_careful(parser)


def _add_delete(parser: CommandParser) -> None:
    _add_group(parser)
    _add_careful(parser)
    parser.add_argument(
        "--force", action="store_true", help="Delete the group even if the settings declare it or somebody consumes it."
    )


def _create(options: Mapping[str, Any]) -> Result:
    stream, group = any_target(options["group"])
    made = groups.create(stream, group, options["start"], by=by(options))
    line = "was created" if made else "existed before"
    return Result(as_json={"stream": stream, "group": group, "made": made}, lines=[f"{stream}:{group} {line}."])


def _reset(options: Mapping[str, Any]) -> Result:
    stream, group = any_target(options["group"])
    effect = groups.reset_effect(stream, group, options["start"])
    as_json: dict[str, Any] = {"stream": stream, "group": group, "again": effect.again, "skipped": effect.skipped}
    what = f"{stream}:{group} would get {_effect(effect, 'skip')}"
    if not confirmed(what, options):
        result, line = undone(what, "reset", options)
        return Result(as_json={**as_json, "result": result}, lines=[line])
    reached = groups.reset(stream, group, options["start"], by=by(options))
    return Result(
        as_json={**as_json, "result": "reset", "position": reached},
        lines=[f"{stream}:{group} reads on after {reached}. It gets {_effect(effect, 'skips')}"],
    )


def _effect(effect: groups.ResetEffect, skips: str) -> str:
    return (
        f"{amount(effect.again)} messages again and {skips} {amount(effect.skipped)} (10,000 stands for that many or "
        "more). What waits for a retry stays."
    )


def _delete(options: Mapping[str, Any]) -> Result:
    stream, group = any_target(options["group"])
    try:
        return _delete_unless_used(stream, group, options)
    except GroupInUse as error:
        raise CommandError(str(error), returncode=2) from error


def _delete_unless_used(stream: str, group: str, options: Mapping[str, Any]) -> Result:
    force = options["force"]
    if not force:
        groups.check_undeclared(stream, group)
    lost = groups.waiting(stream, group)
    if lost.consumers and not (force or options["dry_run"]):
        raise groups.in_use(stream, group, lost.consumers)
    as_json = {
        "stream": stream, "group": group, "pending": lost.pending, "retrying": lost.retrying,
        "redelivered": lost.redelivered, "consumers": len(lost.consumers),
    }  # fmt: skip
    what = (
        f"{stream}:{group} goes, with its books, and with it {amount(lost.pending)} pending, {amount(lost.retrying)} "
        f"retrying and {amount(lost.redelivered)} redelivered messages. Dead letters and the stream stay. "
        + (f"It is consumed by {amount(len(lost.consumers))}, who stop." if lost.consumers else "Nobody consumes it.")
    )
    if not confirmed(what, options):
        result, line = undone(what, "delete", options)
        return Result(as_json={**as_json, "result": result}, lines=[line])
    if groups.delete(stream, group, by=by(options), force=force):
        return Result(as_json={**as_json, "result": "deleted"}, lines=[f"{stream}:{group} was deleted."])
    line = f"{stream}:{group} is gone: another deleted it in the meantime."
    return Result(as_json={**as_json, "result": "missing"}, lines=[line])


CREATE_GROUP: Final = Subcommand(
    name="groups create", help="Creates a group that is missing.", add_arguments=_add_position, run=_create
)
RESET_GROUP: Final = Subcommand(
    name="groups reset", help="Moves the position from which a group reads on.", add_arguments=_add_reset, run=_reset
)
DELETE_GROUP: Final = Subcommand(
    name="groups delete",
    help="Deletes a group, and the messages that wait for it alone.",
    add_arguments=_add_delete,
    run=_delete,
)
