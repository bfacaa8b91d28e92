"""Publishing: on the commit of a database transaction, or now where there is none.

All that can be wrong with a message is found at the call, and what is sent later is what was encoded then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from asgiref.sync import sync_to_async

from .. import conf
from ..conf import values
from ..exceptions import InvalidMessage, StreamsError, TransactionError
from ..message import Message
from ..wire import Fields, excerpt
from .committed import publish_committed
from .delays import due_of
from .encoded import Call
from .observing import Sent, add_observer, remove_observer
from .publication import Publication, add_middleware, remove_middleware
from .sending import publish_now
from .transactions import in_transaction, publish_on_commit

__all__ = [
    "Publication",
    "Sent",
    "add_middleware",
    "add_observer",
    "apublish",
    "apublish_many",
    "in_transaction",
    "publish",
    "publish_committed",
    "publish_many",
    "remove_middleware",
    "remove_observer",
]


def publish(
    stream: str,
    payload: Any,
    *,
    type: str | None = None,  # noqa: A002  the message's own word for it
    key: str | None = None,
    headers: Mapping[str, Any] | None = None,
    lane: str | None = None,
    delay: float | timedelta | None = None,
    at: datetime | None = None,
    using: str = "default",
) -> Message:
    """Publish a message when the transaction of the database `using` commits; outside one, now. Return it.

    `payload` is any JSON value that `DjangoJSONEncoder` takes; it is encoded at once. `type` selects handlers;
    `key` and `headers` travel along; `lane` is one of the stream's LANES, without it "default". The message's
    `id` is known at once and stays. With `delay`, seconds or a timedelta from when it is sent (after a commit: from
    then), or `at`, a datetime (aware when USE_TZ), groups get it no sooner.

    Where the transaction or its savepoint is rolled back, nothing is published. When a message can't be sent
    after a commit, it is logged as an error of "django_redis_streams" and the signal `publish_failed` is sent.
    A stream with OUTBOX keeps it in the database `using` instead, outside a transaction too, until it can be sent.
    Without OUTBOX no database connection is opened. In a coroutine use `apublish`: a coroutine doesn't see the
    transaction.

    Raises `UnknownStream`, `InvalidMessage` and its `PayloadTooLarge` before anything is sent; `TransactionError`
    in a transaction that Django doesn't manage; outside one `ServerUnreachable`, `ServerRefused`, and with MIN_REPLICAS
    `NotReplicated`. With OUTBOX: `ConfigurationError` without its app or its table, `ServerUnreachable` only if the
    database takes no row either.
    """
    with Publication(conf.stream(stream), headers) as publication:
        call = Call(publication.config, type, key, publication.headers, lane, due=due_of(delay, at))
        publication.lane = call.lane
        entry = call.one(payload)
        publication.message_id = entry[1]
        if in_transaction(using):
            publish_on_commit(call, [entry], using)
        else:
            publish_now(call, [entry], using)
    return call.message(entry, payload)


async def apublish(
    stream: str,
    payload: Any,
    *,
    type: str | None = None,  # noqa: A002  as above
    key: str | None = None,
    headers: Mapping[str, Any] | None = None,
    lane: str | None = None,
    delay: float | timedelta | None = None,
    at: datetime | None = None,
    using: str = "default",
) -> Message:
    """As `publish`, from a coroutine: in the thread that the coroutine's transactions are in."""
    in_thread = sync_to_async(publish, thread_sensitive=True)
    return await in_thread(
        stream, payload, type=type, key=key, headers=headers, lane=lane, delay=delay, at=at, using=using
    )


def publish_many(
    stream: str,
    payloads: Iterable[Any],
    *,
    chunk_size: int | None = None,
    type: str | None = None,  # noqa: A002  as above
    key: str | None = None,
    headers: Mapping[str, Any] | None = None,
    lane: str | None = None,
    delay: float | timedelta | None = None,
    at: datetime | None = None,
    using: str = "default",
) -> int:
    """Publish a message for each payload, in their order; return how many were published, or will be on commit.

    `type`, `key`, `headers`, `lane`, `delay` and `at` hold for all messages. All payloads are encoded before the first
    is sent, so a bad one publishes nothing. With `chunk_size`, outside a transaction only, that many are encoded and
    sent at a time: memory stays bounded, and messages that were sent before a bad payload stay.

    Raises as `publish` does, with the index of a bad payload; `sent` of the error is how many are on the stream.
    If the connection was lost, some of those sent last may be there too.
    """
    with Publication(conf.stream(stream), headers) as publication:
        call = Call(publication.config, type, key, publication.headers, lane, due=due_of(delay, at))
        publication.lane = call.lane
        publication.count = count = _publish_each(call, call.each(_checked(payloads)), chunk_size, using)
    return count


async def apublish_many(
    stream: str,
    payloads: Iterable[Any],
    *,
    chunk_size: int | None = None,
    type: str | None = None,  # noqa: A002  as above
    key: str | None = None,
    headers: Mapping[str, Any] | None = None,
    lane: str | None = None,
    delay: float | timedelta | None = None,
    at: datetime | None = None,
    using: str = "default",
) -> int:
    """As `publish_many`, from a coroutine: in the thread that the coroutine's transactions are in.

    The payloads are iterated over in that thread too.
    """
    in_thread = sync_to_async(publish_many, thread_sensitive=True)
    return await in_thread(
        stream, payloads, chunk_size=chunk_size, type=type, key=key, headers=headers, lane=lane, delay=delay, at=at,
        using=using,
    )  # fmt: skip


def _publish_each(call: Call, entries: Iterator[Fields], chunk_size: int | None, using: str) -> int:
    if chunk_size is not None:
        return _publish_by_chunks(call, entries, chunk_size, using)
    whole = list(entries)
    if not in_transaction(using):
        try:
            return publish_now(call, whole, using)
        except StreamsError as error:
            raise _having_sent(error, error.sent) from error
    if whole:
        publish_on_commit(call, whole, using)
    return len(whole)


def _checked(payloads: Iterable[Any]) -> Iterable[Any]:
    given: object = payloads
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidMessage(
            f"payloads={excerpt(payloads)}: expected an iterable of payloads; publish() takes a single one."
        )
    return payloads


def _publish_by_chunks(call: Call, entries: Iterator[Fields], chunk_size: int, using: str) -> int:
    try:
        values.positive(chunk_size)
    except ValueError as error:
        raise InvalidMessage(f"chunk_size={excerpt(chunk_size)}: {error}.") from None
    if in_transaction(using):
        raise TransactionError(
            f"publish_many(chunk_size={chunk_size!r}) sends as it goes, but a transaction of {using!r} may still be "
            "rolled back. Leave chunk_size out, or call it outside the transaction."
        )
    sent = 0
    try:
        while chunk := list(islice(entries, chunk_size)):
            sent += publish_now(call, chunk, using)
    except StreamsError as error:
        raise _having_sent(error, sent + error.sent) from error
    return sent


def _having_sent(error: StreamsError, sent: int) -> StreamsError:
    told = type(error)(f"{error} ({sent} messages were published.)")
    told.sent = sent
    return told
