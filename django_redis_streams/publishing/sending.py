"""Sending what is encoded, and telling what became of it.

A message that can't be sent is kept by the outbox, where its stream has one. Otherwise it is reported to whoever can
still do something about it: outside a transaction the caller gets the error; after a commit it is too late for that, so
it is logged and `publish_failed` is sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from .. import conf, connections, signals
from ..exceptions import NotReplicated, ServerUnreachable, StreamsError
from ..store.publish.append import append
from ..store.publish.delay import delay
from ..wire import Fields
from .encoded import Call
from .observing import OBSERVERS, observed
from .outboxes import outbox_of
from .postponing import postpone, tell_postponed

__all__ = ["publish_after_commit", "publish_now"]

logger = logging.getLogger("django_redis_streams")

# In seconds: for so long after one send found the server unreachable, the next ones don't try. A thousand messages of
# one transaction would else try, and wait, a thousand times, and an impatient process manager ends that unlogged.
_BELIEVED: Final = 0.5
# By alias: the settings of the connection that failed, until when that is believed, and the error's text. Its traceback
# would keep all that was sent in memory.
_unreachable = threading.local()

# Called with what was sent: the fields of each message, and its entry's id or why it isn't there.
Note = Callable[[Call, Sequence[Fields], Sequence[str | BaseException]], None]


def publish_now(call: Call, whole: Sequence[Fields], using: str) -> int:
    """Send all; return how many. Raises the first error, which says how many are on the stream nevertheless.

    With an outbox, the database `using` keeps what couldn't be sent because the server is away. That counts as sent.
    """
    if call.config.outbox is None:
        replies = _append(call, whole)
    else:
        outbox_of(call.config)
        replies = _append_unless_hopeless(call, whole)
    if signals.has_receivers(signals.message_published):
        for fields, reply in zip(whole, replies, strict=True):
            if isinstance(reply, str):
                signals.send(signals.message_published, call.as_sent(fields, reply))
    failures = [(fields, each) for fields, each in zip(whole, replies, strict=True) if not isinstance(each, str)]
    if failures:
        if call.config.outbox is not None:
            failures = _postpone_unreachable(call, failures, using)
        if failures:
            error = failures[0][1]
            error.sent = len(whole) - sum(not isinstance(each[1], NotReplicated) for each in failures)
            raise error
    return len(whole)


def _postpone_unreachable(
    call: Call, failures: Sequence[tuple[Fields, StreamsError]], using: str
) -> list[tuple[Fields, StreamsError]]:
    """Keep in the outbox what couldn't be sent because the server is away. Return what failed for good."""
    refused = [each for each in failures if not isinstance(each[1], ServerUnreachable)]
    unreachable = [each for each in failures if isinstance(each[1], ServerUnreachable)]
    if not unreachable:
        return refused
    database_error = postpone(call, unreachable, using)
    if database_error is None:
        return refused
    error = ServerUnreachable(_neither(unreachable[0][1], using, database_error))
    error.__cause__ = database_error
    return [(fields, error if isinstance(each, ServerUnreachable) else each) for fields, each in failures]


def publish_after_commit(call: Call, whole: Sequence[Fields], using: str, *, note: Note | None = None) -> None:
    """Send all, and tell what became of each. Raises nothing.

    What can't be sent stays in the outbox of the database `using`, where it has rows there already, or is put there,
    where the stream has one; `publish_postponed` tells of it. Otherwise it is logged, and `publish_failed` tells of it.
    For messages with rows, `note` is called with all and their entries' ids, or why they aren't there, before anybody
    else is told.

    An exception that ends a process or a task (KeyboardInterrupt, SystemExit) is reported likewise, and raised again.
    """
    replies: Sequence[str | BaseException]
    try:
        replies = _append_unless_hopeless(call, whole)
    except Exception as error:  # noqa: BLE001  whatever it is, nobody else is left to hear of it
        replies = [error] * len(whole)
    except BaseException as error:
        _tell(call, whole, [error] * len(whole), using, has_rows=note is not None)
        raise
    if note is not None:
        note(call, whole, replies)
    _tell(call, whole, replies, using, has_rows=note is not None)


def _tell(
    call: Call, whole: Sequence[Fields], replies: Sequence[str | BaseException], using: str, *, has_rows: bool
) -> None:
    has_receivers = signals.has_receivers(signals.message_published)
    failures = []
    for fields, reply in zip(whole, replies, strict=True):
        if not isinstance(reply, str):
            failures.append((fields, reply))
        elif has_receivers:
            signals.send(signals.message_published, call.as_sent(fields, reply))
    if not failures:
        return
    if has_rows:
        tell_postponed(call, failures, using)
        return
    # These are on the server: from a row each would be sent a second time.
    on_too_few = [each for each in failures if isinstance(each[1], NotReplicated)]
    unsent = [each for each in failures if not isinstance(each[1], NotReplicated)]
    database_error = None
    if unsent and call.config.outbox is not None:
        database_error = postpone(call, unsent, using)
        if database_error is None:
            unsent = []
    for fields, error in on_too_few:
        _tell_failed(call, fields, error, str(error))
    for fields, error in unsent:
        _tell_failed(
            call, fields, error, str(error) if database_error is None else _neither(error, using, database_error)
        )


def _neither(error: BaseException, using: str, database_error: Exception) -> str:
    return (
        f"{error} Nor could the outbox of database {using!r} keep it: {type(database_error).__name__}: {database_error}"
    )


def _append(call: Call, whole: Sequence[Fields]) -> list[str | StreamsError]:
    """Return for each its entry's id ("" for a delayed one, which has none yet), or why it isn't there."""
    if OBSERVERS:
        return observed(call.config, call.lane, len(whole), partial(_append_now, call, whole))
    return _append_now(call, whole)


def _append_now(call: Call, whole: Sequence[Fields]) -> list[str | StreamsError]:
    config = call.config
    link = connections.get(config.connection)
    if call.due is not None:
        return delay(link, config, call.lane, call.due, whole)
    return append(link, config, call.lane, whole)


def _append_unless_hopeless(call: Call, whole: Sequence[Fields]) -> list[str | StreamsError]:
    """As `_append`, but without trying where this thread has just found the server unreachable."""
    connection = conf.connection(call.config.connection)
    failed, until, text = _unreachable.__dict__.get(connection.alias, (None, 0.0, ""))
    if failed is connection and time.monotonic() < until:
        return [ServerUnreachable(text)] * len(whole)
    replies = _append(call, whole)
    # Of a cluster, a node that is away tells nothing of the others.
    if replies and isinstance(replies[-1], ServerUnreachable) and not replies[-1].node:
        _unreachable.__dict__[connection.alias] = connection, time.monotonic() + _BELIEVED, str(replies[-1])
    return replies


def _tell_failed(call: Call, fields: Fields, error: BaseException, text: str) -> None:
    identity, stream = fields[1], call.config.name
    logger.error(
        "Message %s of stream %r is committed, and isn't safe. %s"
        if isinstance(error, NotReplicated)
        else "Message %s of stream %r is committed but not published: %s",
        identity,
        stream,
        text,
        exc_info=None if isinstance(error, StreamsError) else error,
        extra={"stream": stream, "message_id": identity},
    )
    if signals.has_receivers(signals.publish_failed):
        signals.send(signals.publish_failed, call.as_sent(fields), error=error)
