"""Entries that are to be appended to a stream later, by the promoter (`promote`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...connections import Link
from ...exceptions import ServerRefused, ServerUnreachable, StreamsError
from ...keys import StreamKeys
from ...wire import Fields
from ..scripts import exchange, script
from .replicas import with_replicas, words_of_wait

__all__ = ["Due", "delay", "delay_each"]

# As for entries that are appended at once.
_SEND: Final = 250


@dataclass(frozen=True, slots=True)
class Due:
    """When entries are due: `ms` from now by the server's clock, or, where `absolute`, since 1970."""

    ms: int
    absolute: bool


def delay(link: Link, stream: StreamConfig, lane: str, due: Due, entries: Sequence[Fields]) -> list[str | StreamsError]:
    """Keep each entry until it is due; return for each "" (it has no id yet), or the error that says why it isn't kept.

    Errors are those of `append`. Sending an entry once more changes only when it is due.
    """
    return delay_each(link, stream, lane, [(due, fields) for fields in entries])


def delay_each(
    link: Link, stream: StreamConfig, lane: str, entries: Sequence[tuple[Due, Fields]]
) -> list[str | StreamsError]:
    """Do as `delay` for entries of which each is due at a time of its own."""
    keys = stream.keys
    names = [keys.delayed, keys.delayed_entries, keys.clock, keys.notices, keys.promoter]
    replies: list[str | StreamsError] = []
    try:
        for start in range(0, len(entries), _SEND):
            commands = [
                script("delay")(names, fields[1], "at" if due.absolute else "in", due.ms, lane, *fields)
                for due, fields in entries[start : start + _SEND]
            ]
            batch = exchange(link, commands, wait := words_of_wait(stream))
            waited = batch.pop() if wait else 0
            kept = [_refused(keys, each) if isinstance(each, Exception) else "" for each in batch]
            replies += with_replicas(stream, kept, waited)
    except ServerUnreachable as error:
        replies += [error] * (len(entries) - len(replies))
    return replies


def _refused(keys: StreamKeys, error: Exception) -> StreamsError:
    if isinstance(error, ServerUnreachable):  # of a part of a cluster, where the stream was moving
        return error
    if not isinstance(error, ResponseError):
        raise error
    refused = ServerRefused(f"The server refuses to keep a delayed message of the stream {keys.main!r}: {error}")
    refused.__cause__ = error
    return refused
