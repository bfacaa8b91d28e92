"""Sending what is encoded, and telling of it.

What becomes of a message that can't be sent depends on who could still do something about it: outside a
transaction the caller gets the error; after a commit it is too late for that, so it is logged and
`publish_failed` is sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from .. import conf, connections, signals
from ..conf import StreamConfig
from ..exceptions import ServerUnreachable, StreamsError
from ..store.append import append
from .encoded import Encoded

__all__ = ["publish_after_commit", "publish_now"]

logger = logging.getLogger("django_redis_streams")

# Entries in one send. More saves little, and the server holds all replies of a send in memory.
_SEND: Final = 250
# How long after a commit found the server unreachable the next ones believe it, in seconds. A thousand messages of
# one transaction would else try, and wait, a thousand times, and an impatient process manager ends that unlogged.
_BELIEVED: Final = 0.5
# By alias: the settings of the connection that failed, until when that is believed, and the error.
_unreachable = threading.local()


def publish_now(config: StreamConfig, whole: Sequence[Encoded]) -> int:
    """How many were published: all. Raises the first error, which says how many are on the stream nevertheless."""
    replies = _append(config, whole)
    failed = [reply for reply in replies if isinstance(reply, StreamsError)]
    for encoded, reply in zip(whole, replies, strict=True):
        if isinstance(reply, str):
            _tell_published(encoded, reply)
    if failed:
        failed[0].sent = len(whole) - len(failed)
        raise failed[0]
    return len(whole)


def publish_after_commit(config: StreamConfig, whole: Sequence[Encoded]) -> None:
    """Send all. Raises nothing: what can't be sent is logged, and `publish_failed` tells of it."""
    replies: Sequence[str | Exception]
    try:
        replies = _append_unless_hopeless(config, whole)
    except Exception as error:  # noqa: BLE001  whatever it is, nobody else is left to hear of it
        replies = [error] * len(whole)
    for encoded, reply in zip(whole, replies, strict=True):
        if isinstance(reply, str):
            _tell_published(encoded, reply)
        else:
            _tell_failed(encoded, reply)


def _append(config: StreamConfig, whole: Sequence[Encoded]) -> list[str | StreamsError]:
    """For each its entry's id, or why it has none."""
    link = connections.get(config.connection)
    replies: list[str | StreamsError] = []
    for start in range(0, len(whole), _SEND):
        try:
            replies += append(link, config.keys.main, [each.fields for each in whole[start : start + _SEND]])
        except ServerUnreachable as error:
            replies += [error] * (len(whole) - start)
            break
    return replies


def _append_unless_hopeless(config: StreamConfig, whole: Sequence[Encoded]) -> list[str | StreamsError]:
    """As `_append`, but without trying where this thread has just found the server unreachable."""
    connection = conf.connection(config.connection)
    failed, until, error = _unreachable.__dict__.get(connection.alias, (None, 0.0, None))
    if failed is connection and time.monotonic() < until:
        return [error] * len(whole)
    replies = _append(config, whole)
    if isinstance(replies[-1], ServerUnreachable):
        _unreachable.__dict__[connection.alias] = connection, time.monotonic() + _BELIEVED, replies[-1]
    return replies


def _tell_published(encoded: Encoded, entry_id: str) -> None:
    if signals.heard(signals.message_published):
        signals.send(signals.message_published, encoded.as_sent(entry_id))


def _tell_failed(encoded: Encoded, error: Exception) -> None:
    message = encoded.message
    logger.error(
        "Message %s of stream %r is committed but not published: %s",
        message.id,
        message.stream,
        error,
        exc_info=None if isinstance(error, StreamsError) else error,
        extra={"stream": message.stream, "message_id": message.id},
    )
    if signals.heard(signals.publish_failed):
        signals.send(signals.publish_failed, encoded.as_sent(), error=error)
