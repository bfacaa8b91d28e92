"""`manage.py streams publish`: one message, or one for each line of standard input."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ...exceptions import InvalidMessage
from ...publishing import publish, publish_many
from ..arguments import count, seconds
from ..strict_json import value_of
from ..subcommands import Result, Subcommand

__all__ = ["PUBLISH"]

_STANDARD_INPUT: Final = "-"
_SHARED: Final = ("type", "key", "headers", "lane", "delay")


def _add_arguments(parser: CommandParser) -> None:
    add = parser.add_argument
    add("stream", help="Which stream.")
    add("payload", nargs="?", default=_STANDARD_INPUT, help='The payload as JSON; "-" (default): standard input.')
    add("--type", default=None, help="The message's type, such as order.imported.")
    add("--key", default=None, help="The message's key.")
    add("--headers", type=_object, default=None, metavar="JSON", help="The message's headers, a JSON object.")
    add("--lane", default=None, help="Onto this lane.")
    add("--delay", type=seconds, default=None, metavar="TIME", help="Groups get it so much later: 90, 5m, 1h.")
    add("--ndjson", action="store_true", help="Each line of standard input is the payload of a message of its own.")
    chunk_help = "With --ndjson: send so many at a time (default: all lines are read before the first is sent)."
    add("--chunk-size", type=count, default=None, metavar="N", help=chunk_help)


def _run(options: Mapping[str, Any]) -> Result:
    try:
        return _published(options)
    except InvalidMessage as error:
        raise CommandError(str(error), returncode=2) from error


def _published(options: Mapping[str, Any]) -> Result:
    shared = {name: options[name] for name in _SHARED}
    stream = options["stream"]
    if options["ndjson"]:
        return _many(stream, options, shared)
    if options["chunk_size"] is not None:
        raise CommandError("--chunk-size needs --ndjson: add it, or leave --chunk-size out.", returncode=2)
    given = options["payload"]
    message = publish(stream, _value(sys.stdin.read() if given == _STANDARD_INPUT else given, "The payload"), **shared)
    as_json = {"stream": stream, "lane": message.lane, "id": message.id}
    return Result(as_json=as_json, lines=[f"Published {message.id} to {stream}."])


def _many(stream: str, options: Mapping[str, Any], shared: Mapping[str, Any]) -> Result:
    if options["payload"] != _STANDARD_INPUT:
        raise CommandError(
            "--ndjson reads its payloads from standard input. Leave the payload argument out.", returncode=2
        )
    published = publish_many(stream, _payloads(sys.stdin), chunk_size=options["chunk_size"], **shared)
    return Result(as_json={"stream": stream, "published": published}, lines=[f"Published {published} to {stream}."])


def _payloads(lines: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _value(line, f"Line {number}")


def _value(text: str, what: str) -> Any:
    try:
        return value_of(text)
    except ValueError as error:
        raise InvalidMessage(f"{what} isn't JSON: {error}. Text is written in quotes, as '\"text\"'.") from error


def _object(text: str) -> dict[str, Any]:
    try:
        value, wrong = value_of(text), ""
    except ValueError as error:
        value, wrong = None, f": {error}"
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r}: expected a JSON object, such as \'{{"trace": "4bf9"}}\'{wrong}')
    return value


PUBLISH: Final = Subcommand(
    name="publish",
    help="Publishes a message to a stream, or one for each line of standard input.",
    add_arguments=_add_arguments,
    run=_run,
)
