"""`manage.py streams show`: the story of one message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ... import conf
from ...inspection import DeadLetter, PendingMessage, RetryingMessage, Standing, Story, story, visible
from ...keys import DEFAULT_LANE
from ..arguments import count
from ..subcommands import Result, Subcommand

__all__ = ["SHOW"]

_SCAN: Final = 50_000


def _add_arguments(parser: CommandParser) -> None:
    add = parser.add_argument
    add("id", help="Of an entry, a dead letter, or a message.")
    add("--stream", default=None, help="Of this stream (default: of all).")
    scan_help = f"Look for a message's id in so many entries of a stream or list at most (default: {_SCAN:,})."
    add("--scan", type=count, default=_SCAN, metavar="N", help=scan_help)


def _run(options: Mapping[str, Any]) -> Result:
    asked = list(_stories(options))
    found = [each for each in asked if each.found]
    as_json = {"messages": list(map(_as_json, found or asked))}
    if found:
        return Result(as_json=as_json, lines=[line for each in found for line in _lines(each)])
    looked = [line for each in asked for line in _looked(each)]
    return Result(as_json=as_json, lines=[f"There is no {visible(options['id'])}.", *looked], code=1)


def _stories(options: Mapping[str, Any]) -> Iterator[Story]:
    name = options["stream"]
    streams = [conf.stream(name).name] if name is not None else list(conf.get().streams)
    refused: list[ValueError] = []
    for stream in streams:
        try:
            yield story(stream, options["id"], most=options["scan"])
        except ValueError as error:
            # The id of a foreign message names its stream, so other streams refuse it.
            refused.append(error)
    if len(refused) == len(streams):
        raise CommandError(str(refused[0]) if refused else "No stream is declared.", returncode=2)


def _as_json(each: Story) -> Mapping[str, Any]:
    return {
        "stream": each.stream, "lane": visible(each.lane), "message_id": visible(each.message_id),
        "entry_id": each.entry_id, "type": visible(each.type), "found": each.found,
        "on_stream": each.fields is not None, "delayed_until": _iso(each.delayed), "payload": visible(each.payload),
        "groups": [{"group": visible(one.group), "state": one.state, **_known(one)} for one in each.groups],
        "looked": [{"source": one.source, "searched": one.searched, "total": one.total} for one in each.looked],
    }  # fmt: skip


def _known(standing: Standing) -> Mapping[str, Any]:
    row = standing.row
    if row is None:
        return {}
    as_json: dict[str, Any] = {
        "attempts": row.attempts, "handler": visible(row.handler), "error": visible(row.error),
        "traceback": visible(row.traceback), "first_failed": _iso(row.first_failed),
        "last_failed": _iso(row.last_failed), "replays": row.replays, "replayed_by": visible(row.replayed_by),
    }  # fmt: skip
    match row:
        case PendingMessage():
            as_json |= {
                "source": row.source, "pending_id": row.entry_id, "consumer": visible(row.consumer), "idle": row.idle,
                "deliveries": row.deliveries, "stale": row.stale, "body_gone": row.body_gone,
            }  # fmt: skip
        case RetryingMessage():
            as_json |= {"due": _iso(row.due), "token": visible(row.token)}
        case DeadLetter():
            as_json |= {
                "dead_letter": row.entry_id,
                "dead_lettered_at": _iso(row.dead_lettered_at),
                "reason": visible(row.reason),
            }
    return as_json


def _lines(each: Story) -> Iterator[str]:
    lane = "" if each.lane == DEFAULT_LANE else f" in lane {each.lane}"
    yield visible(f"{each.stream} {each.entry_id or '-'}{lane}: message {each.message_id or '-'} {each.type}".rstrip())
    if each.delayed is not None:
        yield f"Delayed: onto the stream at {_iso(each.delayed)}."
    elif each.fields is None:
        yield "Its entry isn't on the stream: trimmed, deleted, or not found."
    for line in each.payload.splitlines():
        yield f"  {visible(line)}"
    for one in each.groups:
        yield visible(f"{one.group}: {one.state}{_about(one)}")
        if one.row is not None and one.row.error:
            yield f"  {visible(one.row.error)}"
    yield from _looked(each)


def _about(standing: Standing) -> str:
    match standing.row:
        case PendingMessage() as row:
            stale = ", stale" if row.stale else ""
            gone = ", its body is gone" if row.body_gone else ""
            held = "released" if row.returned else f"at {row.consumer}"
            return f", {held}, idle {row.idle:.0f} s{stale}, deliveries: {row.deliveries}{gone}"
        case RetryingMessage() as row:
            return f", due {_iso(row.due)}, attempts: {row.attempts}, last of {row.handler or '-'}"
        case DeadLetter() as row:
            return f" {row.entry_id}, {row.reason}, attempts: {row.attempts}, last of {row.handler or '-'}"
    return ""


def _looked(each: Story) -> Sequence[str]:
    return [
        f"Searched {one.searched} of {one.total} in {visible(one.source)}; go on with --scan N." for one in each.looked
    ]


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


SHOW: Final = Subcommand(
    name="show",
    help="Shows where a message is, and where it stands for each group.",
    add_arguments=_add_arguments,
    run=_run,
)
