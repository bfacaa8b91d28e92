"""Entries that are to be appended to a stream later, by the promoter (`promote`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import ResponseError

from ...connections import Link
from ...exceptions import ServerRefused, ServerUnreachable, StreamsError
from ...keys import StreamKeys
from ...wire import Fields
from ..scripts import exchange, script

__all__ = ["Due", "delay"]

# As for entries that are appended at once.
_SEND: Final = 250


@dataclass(frozen=True, slots=True)
class Due:
    """When entries are due: `ms` from now by the server's clock, or, where `absolute`, since 1970."""

    ms: int
    absolute: bool


def delay(link: Link, keys: StreamKeys, lane: str, due: Due, entries: Sequence[Fields]) -> list[str | StreamsError]:
    """Keep each entry until it is due; return for each "" (it has no id yet), or the error that says why it isn't kept.

    Errors are those of `append`. Sending an entry once more changes only when it is due.
    """
    counted = "at" if due.absolute else "in"
    replies: list[str | StreamsError] = []
    try:
        for start in range(0, len(entries), _SEND):
            commands = [
                script("delay")(
                    [keys.delayed, keys.delayed_entries, keys.clock], fields[1], counted, due.ms, lane, *fields
                )
                for fields in entries[start : start + _SEND]
            ]
            replies += [
                _refused(keys, each) if isinstance(each, Exception) else "" for each in exchange(link, commands)
            ]
    except ServerUnreachable as error:
        replies += [error] * (len(entries) - len(replies))
    return replies


def _refused(keys: StreamKeys, error: Exception) -> StreamsError:
    if not isinstance(error, ResponseError):
        raise error
    refused = ServerRefused(f"The server refuses to keep a delayed message of the stream {keys.main!r}: {error}")
    refused.__cause__ = error
    return refused
