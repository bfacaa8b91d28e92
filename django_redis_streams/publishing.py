"""Publishing: on the commit of a database transaction, or now where there is none.

All that can be wrong with a message is found at the call, and what is sent later is what was encoded then. What
becomes of a message that can't be sent depends on who could still do something about it: outside a transaction
the caller gets the error; after a commit it is too late for that, so it is logged and `publish_failed` is sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db import connections as databases
from django.db import transaction

from . import conf, connections, signals, wire
from .conf import StreamConfig, values
from .exceptions import InvalidMessage, ServerUnreachable, StreamsError, TransactionError
from .message import Message, new_id
from .store.append import append

__all__ = ["apublish", "publish", "publish_many"]

logger = logging.getLogger("django_redis_streams")

# Entries in one send. More saves little, and the server holds all replies of a send in memory.
_SEND: Final = 250
# How long after a commit found the server unreachable the next ones believe it, in seconds. A thousand messages of
# one transaction would else try, and wait, a thousand times, and an impatient process manager ends that unlogged.
_BELIEVED: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A message and the fields of its entry: whatever its payload's owner does to it now."""

    message: Message
    fields: list[str]

    def as_sent(self, entry_id: str = "") -> Message:
        """The message as it is on the wire: its payload and headers may have been changed since."""
        message = self.message
        sent = wire.decode(wire.Origin(stream=message.stream, group="", key=message.stream), "0-0", self.fields)
        return Message(
            id=message.id,
            stream=message.stream,
            type=message.type,
            payload=sent.payload,
            key=message.key,
            headers=sent.headers,
            time=message.time,
            entry_id=entry_id,
        )


# By alias: the settings of the connection that failed, until when that is believed, and the error.
_unreachable = threading.local()


def publish(
    stream: str,
    payload: Any,
    *,
    type: str | None = None,  # noqa: A002  the message's own word for it
    key: str | None = None,
    headers: Mapping[str, Any] | None = None,
    using: str = "default",
) -> Message:
    """The message, which is published when the transaction of the database `using` commits; outside one, now.

    `payload` is any JSON value that `DjangoJSONEncoder` takes; it is encoded at once. `type` selects handlers;
    `key` and `headers` travel along. The message's `id` is known at once and stays.

    Where the transaction or its savepoint is rolled back, nothing is published. When a message can't be sent
    after a commit, it is logged as an error of "django_redis_streams" and the signal `publish_failed` is sent.
    No database connection is opened. In a coroutine use `apublish`: a coroutine doesn't see the transaction.

    Raises `UnknownStream`, `InvalidMessage` and its `PayloadTooLarge` before anything is sent; `TransactionError`
    in a transaction that Django doesn't manage; outside one `ServerUnreachable` and `ServerRefused`.
    """
    config = conf.stream(stream)
    encoded = _encode(config, payload, type, key, headers)
    if _in_transaction(using):
        _on_commit(config, [encoded], using)
    else:
        _publish_now(config, [encoded])
    return encoded.message


async def apublish(
    stream: str,
    payload: Any,
    *,
    type: str | None = None,  # noqa: A002  as above
    key: str | None = None,
    headers: Mapping[str, Any] | None = None,
    using: str = "default",
) -> Message:
    """As `publish`, from a coroutine: in the thread that the coroutine's transactions are in."""
    in_thread = sync_to_async(publish, thread_sensitive=True)
    return await in_thread(stream, payload, type=type, key=key, headers=headers, using=using)


def publish_many(
    stream: str,
    payloads: Iterable[Any],
    *,
    chunk_size: int | None = None,
    type: str | None = None,  # noqa: A002  as above
    key: str | None = None,
    headers: Mapping[str, Any] | None = None,
    using: str = "default",
) -> int:
    """How many messages were published, or will be on commit: one for each of the payloads, in their order.

    `type`, `key` and `headers` are those of all. All payloads are encoded before the first is sent, so a bad
    one publishes nothing. With `chunk_size`, outside a transaction only, that many are encoded and sent at a
    time: memory stays bounded, and what was sent before a bad one stays.

    Raises as `publish` does, with the index of a bad payload; `sent` of the error is how many are on the stream.
    Where the connection was lost, some of those sent last may be there too.
    """
    config = conf.stream(stream)
    encoded = _encoded(config, _checked(payloads), type, key, headers)
    if chunk_size is not None:
        return _publish_by_chunks(config, encoded, chunk_size, using)
    whole = list(encoded)
    if not _in_transaction(using):
        try:
            return _publish_now(config, whole)
        except StreamsError as error:
            raise _having_sent(error, error.sent) from error
    if whole:
        _on_commit(config, whole, using)
    return len(whole)


def _encode(
    config: StreamConfig,
    payload: Any,
    type: str | None,  # noqa: A002  as above
    key: str | None,
    headers: Mapping[str, Any] | None,
) -> _Encoded:
    _check_headers(headers)
    message = Message(
        id=new_id(),
        stream=config.name,
        type="" if type is None else type,
        payload=payload,
        key=key,
        headers=headers,
    )
    return _Encoded(message, wire.encode(message, format=config.format, max_payload=config.max_payload))


def _check_headers(headers: object) -> None:
    if headers is None or (isinstance(headers, Mapping) and all(isinstance(name, str) for name in headers)):
        return
    raise InvalidMessage(f"headers={headers!r}: expected a dict with texts as its keys.")


def _encoded(config: StreamConfig, payloads: Iterable[Any], *arguments: Any) -> Iterator[_Encoded]:
    for index, payload in enumerate(payloads):
        try:
            encoded = _encode(config, payload, *arguments)
        except InvalidMessage as error:
            raise type(error)(f"payloads[{index}]: {error}") from error
        yield encoded


def _checked(payloads: Iterable[Any]) -> Iterable[Any]:
    given: object = payloads
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidMessage(f"payloads={payloads!r}: expected an iterable of payloads; publish() takes a single one.")
    return payloads


def _in_transaction(using: str) -> bool:
    """Whether Django will tell when `using` commits. Asks the connection without opening it.

    Raises `TransactionError` where autocommit was turned off by hand: Django doesn't say when such a transaction
    commits, so now might be too early and on commit never
    (https://docs.djangoproject.com/en/stable/topics/db/transactions/#use-of-on-commit-with-autocommit-off).
    """
    database = databases[using]
    if database.in_atomic_block and database.commit_on_exit:
        return True
    if database.connection is not None and not database.autocommit:
        raise TransactionError(
            f"Autocommit of database {using!r} is off, so Django can't tell when its transaction commits. Turn it "
            "on with set_autocommit(True) before you publish, and use transaction.atomic()."
        )
    return False


def _on_commit(config: StreamConfig, whole: Sequence[_Encoded], using: str) -> None:
    # A URL or an option that can't work is the caller's to hear of, while it still can be heard.
    connections.get(config.connection)
    transaction.on_commit(partial(_publish_after_commit, config, whole), using=using, robust=True)


def _publish_by_chunks(config: StreamConfig, encoded: Iterator[_Encoded], chunk_size: int, using: str) -> int:
    try:
        values.positive(chunk_size)
    except ValueError as error:
        raise InvalidMessage(f"chunk_size={chunk_size!r}: {error}.") from None
    if _in_transaction(using):
        raise TransactionError(
            f"publish_many(chunk_size={chunk_size!r}) sends as it goes, but a transaction of {using!r} may still be "
            "rolled back. Leave chunk_size out, or call it outside the transaction."
        )
    sent = 0
    try:
        while chunk := list(islice(encoded, chunk_size)):
            sent += _publish_now(config, chunk)
    except StreamsError as error:
        raise _having_sent(error, sent + error.sent) from error
    return sent


def _publish_now(config: StreamConfig, whole: Sequence[_Encoded]) -> int:
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


def _publish_after_commit(config: StreamConfig, whole: Sequence[_Encoded]) -> None:
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


def _append(config: StreamConfig, whole: Sequence[_Encoded]) -> list[str | StreamsError]:
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


def _append_unless_hopeless(config: StreamConfig, whole: Sequence[_Encoded]) -> list[str | StreamsError]:
    """As `_append`, but without trying where this thread has just found the server unreachable."""
    connection = conf.connection(config.connection)
    failed, until, error = _unreachable.__dict__.get(connection.alias, (None, 0.0, None))
    if failed is connection and time.monotonic() < until:
        return [error] * len(whole)
    replies = _append(config, whole)
    if isinstance(replies[-1], ServerUnreachable):
        _unreachable.__dict__[connection.alias] = connection, time.monotonic() + _BELIEVED, replies[-1]
    return replies


def _having_sent(error: StreamsError, sent: int) -> StreamsError:
    told = type(error)(f"{error} ({sent} messages were published.)")
    told.sent = sent
    return told


def _tell_published(encoded: _Encoded, entry_id: str) -> None:
    if signals.heard(signals.message_published):
        signals.send(signals.message_published, encoded.as_sent(entry_id))


def _tell_failed(encoded: _Encoded, error: Exception) -> None:
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
