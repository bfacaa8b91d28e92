"""New entries at the end of a stream."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import ResponseError

from ..connections import Link
from ..exceptions import ServerRefused
from ..wire import Fields

__all__ = ["append"]


def append(link: Link, key: str, entries: Sequence[Fields]) -> list[str | ServerRefused]:
    """The ids of the new entries, in order; in place of one that the server refuses, the error that says why.

    All are sent at once. Raises `ServerUnreachable`; then it is unknown which of them are on the stream.
    """
    replies = link.call_many([("XADD", key, "*", *fields) for fields in entries])
    return [_refused(key, reply) if isinstance(reply, ResponseError) else reply for reply in replies]


def _refused(key: str, error: ResponseError) -> ServerRefused:
    refused = ServerRefused(f"The server refuses to append to the stream {key!r}: {error}")
    refused.__cause__ = error
    return refused
