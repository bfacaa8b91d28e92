"""Sending what is encoded, and telling what became of it.

A message that can't be sent is reported to whoever can still do something about it: outside a transaction the caller
gets the error; after a commit it is too late for that, so it is logged and `publish_failed` is sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from .. import conf, connections, signals
from ..exceptions import ServerUnreachable, StreamsError
from ..store.publish.append import append
from ..store.publish.delay import delay
from ..wire import Fields
from .encoded import Call
from .observing import OBSERVERS, observed

__all__ = ["publish_after_commit", "publish_now"]

logger = logging.getLogger("django_redis_streams")

# In seconds: for so long after one send found the server unreachable, the next ones don't try. A thousand messages of
# one transaction would else try, and wait, a thousand times, and an impatient process manager ends that unlogged.
_BELIEVED: Final = 0.5
# By alias: the settings of the connection that failed, until when that is believed, and the error.
_unreachable = threading.local()


def publish_now(call: Call, whole: Sequence[Fields]) -> int:
    """Send all; return how many. Raises the first error, which says how many are on the stream nevertheless."""
    replies = _append(call, whole)
    failed = [reply for reply in replies if isinstance(reply, StreamsError)]
    if signals.has_receivers(signals.message_published):
        for fields, reply in zip(whole, replies, strict=True):
            if isinstance(reply, str):
                signals.send(signals.message_published, call.as_sent(fields, reply))
    if failed:
        failed[0].sent = len(whole) - len(failed)
        raise failed[0]
    return len(whole)


def publish_after_commit(call: Call, whole: Sequence[Fields]) -> None:
    """Send all. Raises nothing: what can't be sent is logged, and `publish_failed` tells of it.

    An exception that ends a process or a task (KeyboardInterrupt, SystemExit) is reported likewise, and raised again.
    """
    replies: Sequence[str | BaseException]
    try:
        replies = _append_unless_hopeless(call, whole)
    except Exception as error:  # noqa: BLE001  whatever it is, nobody else is left to hear of it
        replies = [error] * len(whole)
    except BaseException as error:
        _tell(call, whole, [error] * len(whole))
        raise
    _tell(call, whole, replies)


def _tell(call: Call, whole: Sequence[Fields], replies: Sequence[str | BaseException]) -> None:
    has_receivers = signals.has_receivers(signals.message_published)
    for fields, reply in zip(whole, replies, strict=True):
        if not isinstance(reply, str):
            _tell_failed(call, fields, reply)
        elif has_receivers:
            signals.send(signals.message_published, call.as_sent(fields, reply))


def _append(call: Call, whole: Sequence[Fields]) -> list[str | StreamsError]:
    """Return for each its entry's id ("" for a delayed one, which has none yet), or why it isn't there."""
    if OBSERVERS:
        return observed(call.config, call.lane, len(whole), partial(_append_now, call, whole))
    return _append_now(call, whole)


def _append_now(call: Call, whole: Sequence[Fields]) -> list[str | StreamsError]:
    config = call.config
    link = connections.get(config.connection)
    if call.due is not None:
        return delay(link, config.keys, call.lane, call.due, whole)
    return append(link, config, call.lane, whole)


def _append_unless_hopeless(call: Call, whole: Sequence[Fields]) -> list[str | StreamsError]:
    """As `_append`, but without trying where this thread has just found the server unreachable."""
    connection = conf.connection(call.config.connection)
    failed, until, error = _unreachable.__dict__.get(connection.alias, (None, 0.0, None))
    if failed is connection and time.monotonic() < until:
        return [error] * len(whole)
    replies = _append(call, whole)
    if isinstance(replies[-1], ServerUnreachable):
        _unreachable.__dict__[connection.alias] = connection, time.monotonic() + _BELIEVED, replies[-1]
    return replies


def _tell_failed(call: Call, fields: Fields, error: BaseException) -> None:
    identity, stream = fields[1], call.config.name
    logger.error(
        "Message %s of stream %r is committed but not published: %s",
        identity,
        stream,
        error,
        exc_info=None if isinstance(error, StreamsError) else error,
        extra={"stream": stream, "message_id": identity},
    )
    if signals.has_receivers(signals.publish_failed):
        signals.send(signals.publish_failed, call.as_sent(fields), error=error)
