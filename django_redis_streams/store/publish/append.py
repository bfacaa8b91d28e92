"""New entries at the end of a stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...connections import Link
from ...exceptions import ServerRefused, ServerUnreachable, StreamsError
from ...wire import Fields
from ..scripts import Command
from .replicas import with_replicas, words_of_wait

__all__ = ["append", "bound", "hard_bound"]

# Entries in one send. More saves little, and the server holds all replies of a send in memory.
_SEND: Final = 250


def bound(stream: StreamConfig) -> Sequence[str | int]:
    """Return the words of XADD that cut a stream to its HARD_MAXLEN: the oldest entries go, read and settled or not."""
    if stream.hard_maxlen is None:
        return ()
    most, about = hard_bound(stream)
    return "MAXLEN", about, most


def hard_bound(stream: StreamConfig) -> tuple[str | int, str]:
    """Return HARD_MAXLEN as scripts take it, "" where there is none; and "=" for exactly that, "~" for about that."""
    return "" if stream.hard_maxlen is None else stream.hard_maxlen, "=" if stream.exact_trim else "~"


def append(link: Link, stream: StreamConfig, lane: str, entries: Sequence[Fields]) -> list[str | StreamsError]:
    """Append entries; return their ids in order, or in place of an id the error that says why the entry isn't there.

    `ServerRefused` and `NotReplicated` concern one entry. `ServerUnreachable` concerns all from one on: whether the
    first 250 of these are on the stream is unknown.
    """
    key = stream.keys.lane(lane)
    first = ("XADD", key, *bound(stream), "*")
    wait = words_of_wait(stream)
    replies: list[str | StreamsError] = []
    try:
        for batch in _sent(link, first, entries, wait):
            waited = batch.pop() if wait else 0
            appended = [_failed(key, reply) if isinstance(reply, ResponseError) else reply for reply in batch]
            replies += with_replicas(stream, appended, waited)
    except ServerUnreachable as error:
        replies += [error] * (len(entries) - len(replies))
    return replies


def _sent(
    link: Link, first: Sequence[str | int], entries: Sequence[Fields], then: Sequence[Command]
) -> Iterable[list[Any]]:
    if len(entries) <= _SEND:  # taking turns would cost publish() a tenth of its time
        return [link.call_many([*((*first, *fields) for fields in entries), *then])]
    pieces = (entries[start : start + _SEND] for start in range(0, len(entries), _SEND))
    return link.call_in_turns([*((*first, *fields) for fields in piece), *then] for piece in pieces)


def _failed(key: str, error: ResponseError) -> StreamsError:
    if isinstance(error, ServerUnreachable):  # of a part of a cluster, where the stream was moving
        return error
    refused = ServerRefused(f"The server refuses to append to the stream {key!r}: {error}")
    refused.__cause__ = error
    return refused
