"""`manage.py streams pending`: messages that were delivered to consumers and aren't settled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.core.management.base import CommandParser

from ... import inspection
from ...inspection import PendingMessage
from ..arguments import count, seconds
from ..subcommands import Result, Subcommand
from ..tables import ago, amount, table
from .labels import add_groups, targets

__all__ = ["PENDING"]


def _add_arguments(parser: CommandParser) -> None:
    add_groups(parser)
    parser.add_argument("--idle", type=seconds, default=0.0, metavar="AGE", help="Idle for at least this: 90s, 5m, 1h.")
    parser.add_argument("--deliveries", type=count, default=0, metavar="N", help="Delivered at least so often.")
    parser.add_argument("--limit", type=count, default=50, metavar="N", help="Show so many (default: 50).")
    parser.add_argument(
        "--scan", type=count, default=10_000, metavar="N", help="Look at so many a group (default: 10,000)."
    )


def _run(options: Mapping[str, Any]) -> Result:
    rows: list[PendingMessage] = []
    searched = total = 0
    for where in targets(options["groups"]):
        found = inspection.longest_pending(
            *where, idle=options["idle"], deliveries=options["deliveries"], most=options["scan"]
        )
        rows += found.messages
        searched, total = searched + found.searched, total + found.total
    rows = sorted(rows, key=lambda each: (-each.idle, -each.deliveries))[: options["limit"]]
    messages = [
        {
            "stream": each.stream, "group": each.group, "source": each.source, "id": each.entry_id,
            "consumer": each.consumer, "idle": each.idle, "deliveries": each.deliveries, "stale": each.stale,
        }
        for each in rows
    ]  # fmt: skip
    return Result(
        as_json={"pending": messages, "searched": searched, "total": total},
        lines=list(_lines(messages, searched, total)),
    )


def _lines(messages: list[dict[str, Any]], searched: int, total: int) -> Iterator[str]:
    head = ("group", "source", "id", "consumer", "idle", "deliveries")
    yield from table(
        head,
        (
            (f"{each['stream']}:{each['group']}", each["source"], each["id"], each["consumer"], ago(each["idle"]),
             amount(each["deliveries"]))
            for each in messages
        ),
    )  # fmt: skip
    yield f"{len(messages)} shown; searched {searched:,} of {total:,}."


PENDING: Final = Subcommand(
    name="pending",
    help="Shows what was delivered and isn't settled, the longest idle first.",
    add_arguments=_add_arguments,
    run=_run,
)
