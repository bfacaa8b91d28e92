"""Rows of the outbox, as a publisher or the relay would have left them."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from django_redis_streams import conf
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.outbox.rows import row_of
from django_redis_streams.outbox.standing import HELD
from django_redis_streams.publishing.encoded import Call


def row(
    payload: Any = None,
    *,
    type: str = "order.created",  # noqa: A002  the message's own word for it
    key: str | None = None,
    stream: str = "",
    ago: float = 0,
    next_try: float = 0,
    using: str = "default",
    **fields: Any,
) -> OutboxMessage:
    """One row, committed `ago` seconds and to be tried in `next_try` seconds; that of another `stream` if it is named.

    Without more, the relay is to send it now.
    """
    call = Call(conf.stream("orders"), type, key, None)
    made = row_of(call, call.one({"n": 1} if payload is None else payload))
    now = timezone.now()
    made.created_at, made.next_try_at = now - timedelta(seconds=ago), now + timedelta(seconds=next_try)
    made.stream = stream or made.stream
    for name, value in fields.items():
        setattr(made, name, value)
    made.save(using=using, force_insert=True)
    return made


def sending(**fields: Any) -> OutboxMessage:
    """A row that its publisher is about to send."""
    return row(next_try=20, **fields)


def refused(error: str = "OOM command not allowed", **fields: Any) -> OutboxMessage:
    """A row that the server refused twice, to be tried again in half a minute."""
    return row(**{"attempts": 2, "error": error, "next_try": 30, **fields})


def held(**fields: Any) -> OutboxMessage:
    """A row that waits for an earlier one of its key."""
    return row(error=HELD, next_try=30, **fields)


def sent(**fields: Any) -> OutboxMessage:
    """A row that is on the server, and kept."""
    return row(sent_at=timezone.now(), entry_id="1-1", **fields)
