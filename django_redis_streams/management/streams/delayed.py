"""`manage.py streams delayed list`, `publish` and `discard`: messages that will be published later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.core.management.base import CommandParser

from ... import conf, inspection
from ...inspection import DelayedMessage, visible
from ...operations import waiting
from ..options import add_by, by
from ..subcommands import Result, Subcommand
from .messages import add_search, answered, listed

__all__ = ["DISCARD_DELAYED", "LIST_DELAYED", "PUBLISH_DELAYED"]

_HEAD: Final = ("message", "stream", "lane", "type", "due")


def _add_messages(parser: CommandParser) -> None:
    parser.add_argument("stream", help="The stream that they wait for.")
    parser.add_argument("messages", nargs="+", metavar="message", help="Which ones, as `list` tells them.")
    add_by(parser)


def _list(options: Mapping[str, Any]) -> Result:
    stream = options["stream"]
    page = inspection.delayed(
        stream=conf.stream(stream).name if stream is not None else None,
        type=options["type"],
        text=options["search"],
        count=options["limit"],
        bodies=False,
    )
    as_json = _as_json if options["json"] else None
    return listed(page, "delayed", _HEAD, _cells, as_json=as_json, find=_find, none="No delayed message fits.")


def _publish(options: Mapping[str, Any]) -> Result:
    return answered(waiting.publish_delayed(options["stream"], options["messages"], by=by(options)), "published")


def _discard(options: Mapping[str, Any]) -> Result:
    return answered(waiting.discard_delayed(options["stream"], options["messages"], by=by(options)), "discarded")


def _find(stream: str, rows: Sequence[DelayedMessage]) -> Sequence[DelayedMessage | None]:
    return inspection.find_delayed(stream, [row.token for row in rows])


def _cells(row: DelayedMessage) -> tuple[str, ...]:
    return row.token, row.stream, row.lane, row.type or "-", row.due.isoformat(timespec="seconds")


def _as_json(row: DelayedMessage) -> dict[str, Any]:
    texts = {"message": row.token, "stream": row.stream, "lane": row.lane, "type": row.type, "payload": row.payload}
    return {**{name: visible(text) for name, text in texts.items()}, "due": row.due.isoformat()}


LIST_DELAYED: Final = Subcommand(
    name="delayed list", help="Lists delayed messages, the next first.", add_arguments=add_search, run=_list
)
PUBLISH_DELAYED: Final = Subcommand(
    name="delayed publish",
    help="Publishes delayed messages now, before they are due.",
    add_arguments=_add_messages,
    run=_publish,
)
DISCARD_DELAYED: Final = Subcommand(
    name="delayed discard",
    help="Deletes delayed messages for good: no group gets them.",
    add_arguments=_add_messages,
    run=_discard,
)
