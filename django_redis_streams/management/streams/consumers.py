"""`manage.py streams consumers`, `pending` and `claim`: who is in a group, what it holds, and what the dead left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ... import inspection
from ...conf import group as declared_group
from ...inspection import PendingMessage
from ...operations import groups, waiting
from ..arguments import count, seconds
from ..options import add_by, by
from ..subcommands import Result, Subcommand
from ..tables import ago, amount, table
from .labels import Place, place, places

__all__ = ["CLAIM", "CONSUMERS", "PENDING", "REMOVE_CONSUMERS"]


def _add_groups(parser: CommandParser) -> None:
    parser.add_argument("groups", nargs="*", metavar="stream:group", help="Which groups (default: all).")


# ---------------------------------------------------------------- consumers list


def _run_consumers(options: Mapping[str, Any]) -> Result:
    found = [_consumer(where, each) for where in places(options["groups"]) for each in inspection.consumers(*where)]
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
    return Result(told={"consumers": found}, lines=list(table(head, cells)) if found else ["No group has a consumer."])


def _consumer(where: Place, each: inspection.ConsumerState) -> Mapping[str, Any]:
    state = "handed back" if each.returned else "alive" if each.alive else "silent"
    return {
        "stream": where[0], "group": where[1], "consumer": each.name, "pending": each.pending, "idle": each.idle,
        "state": state,
    }  # fmt: skip


# ---------------------------------------------------------------- consumers remove


def _add_remove(parser: CommandParser) -> None:
    parser.add_argument("group", metavar="stream:group", help="Of which group.")
    parser.add_argument("consumers", nargs="+", metavar="consumer", help="Which consumers.")
    parser.add_argument("--hand-over", action="store_true", help="Hand what they hold back to the workers first.")
    add_by(parser)


def _run_remove(options: Mapping[str, Any]) -> Result:
    stream, group = place(options["group"])
    held = {each.name: each.pending for each in inspection.consumers(stream, group)}
    if unknown := [each for each in options["consumers"] if each not in held]:
        raise CommandError(f"{stream}:{group} has no consumer {', '.join(map(repr, unknown))}.", returncode=2)
    told, code = [], 0
    for name in options["consumers"]:
        done = groups.remove_consumer(stream, group, name, hand_over=options["hand_over"], by=by(options))
        code = code if done else 1
        told.append({"consumer": name, "removed": done, "held": held[name]})
    return Result(told={"consumers": told}, lines=list(map(_removal, told)), code=code)


def _removal(told: Mapping[str, Any]) -> str:
    if told["removed"]:
        return f"{told['consumer']} is removed."
    return f"{told['consumer']} holds {amount(told['held'])} messages and stays: have them handed over (--hand-over)."


# ---------------------------------------------------------------- pending


def _add_pending(parser: CommandParser) -> None:
    _add_groups(parser)
    parser.add_argument("--idle", type=seconds, default=0.0, metavar="AGE", help="Idle for at least this: 90s, 5m, 1h.")
    parser.add_argument("--deliveries", type=count, default=0, metavar="N", help="Delivered at least so often.")
    parser.add_argument("--limit", type=count, default=50, metavar="N", help="Show so many (default: 50).")
    parser.add_argument(
        "--scan", type=count, default=10_000, metavar="N", help="Look at so many a group (default: 10,000)."
    )


def _run_pending(options: Mapping[str, Any]) -> Result:
    rows: list[PendingMessage] = []
    searched = total = 0
    for where in places(options["groups"]):
        found = inspection.longest_pending(
            *where, idle=options["idle"], deliveries=options["deliveries"], most=options["scan"]
        )
        rows += found.messages
        searched, total = searched + found.searched, total + found.total
    rows = sorted(rows, key=lambda each: (-each.idle, -each.deliveries))[: options["limit"]]
    told = [
        {
            "stream": each.stream, "group": each.group, "place": each.place, "id": each.entry_id,
            "consumer": each.consumer, "idle": each.idle, "deliveries": each.deliveries, "stale": each.stale,
        }
        for each in rows
    ]  # fmt: skip
    return Result(
        told={"pending": told, "searched": searched, "total": total}, lines=list(_pending_lines(told, searched, total))
    )


def _pending_lines(told: list[dict[str, Any]], searched: int, total: int) -> Iterator[str]:
    head = ("group", "in", "id", "consumer", "idle", "deliveries")
    yield from table(
        head,
        (
            (f"{each['stream']}:{each['group']}", each["place"], each["id"], each["consumer"], ago(each["idle"]),
             amount(each["deliveries"]))
            for each in told
        ),
    )  # fmt: skip
    yield f"{len(told)} shown; searched {searched:,} of {total:,}."


# ---------------------------------------------------------------- claim


def _add_claim(parser: CommandParser) -> None:
    _add_groups(parser)
    parser.add_argument(
        "--scan", type=count, default=10_000, metavar="N", help="Look at so many a group (default: 10,000)."
    )


def _run_claim(options: Mapping[str, Any]) -> Result:
    """What is idle for CLAIM_IDLE goes to `returned`, from where the next free worker takes it."""
    told: list[dict[str, Any]] = []
    code = 0
    for stream, group in places(options["groups"]):
        idle = declared_group(stream, group).claim_idle
        stale = inspection.longest_pending(stream, group, idle=idle, most=options["scan"]).messages
        entries = [(each.place, each.entry_id, each.consumer) for each in stale if not each.returned]
        answers = waiting.release(stream, group, entries)
        code = 1 if answers.refused or answers.unanswered else code
        told.append(
            {"stream": stream, "group": group, "handed_back": len(answers.done), "refused": len(answers.refused)}
        )
    lines = [
        f"{each['stream']}:{each['group']}: {amount(each['handed_back'])} handed back to the workers, "
        f"{amount(each['refused'])} refused."
        for each in told
    ]
    return Result(told={"groups": told}, lines=lines, code=code)


CONSUMERS: Final = Subcommand(
    name="consumers list", help="Shows the consumers of groups, and what each holds.",
    add_arguments=_add_groups, run=_run_consumers,
)  # fmt: skip
REMOVE_CONSUMERS: Final = Subcommand(
    name="consumers remove", help="Removes consumers that hold nothing, or hand over what they hold.",
    add_arguments=_add_remove, run=_run_remove,
)  # fmt: skip
PENDING: Final = Subcommand(
    name="pending", help="Shows what was delivered and isn't settled, the longest idle first.",
    add_arguments=_add_pending, run=_run_pending,
)  # fmt: skip
CLAIM: Final = Subcommand(
    name="claim", help="Hands what silent consumers hold back to the workers.",
    add_arguments=_add_claim, run=_run_claim,
)  # fmt: skip
