"""What all spans share: their tracer, the context in a message's headers, and how they fail."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from ...exceptions import Reject, Retry
from ...outcomes import Ack
from .attributes import SCHEMA_URL, failure

__all__ = ["TRACER", "asked", "carried", "failed"]

TRACER: Final = trace.get_tracer("django_redis_streams", schema_url=SCHEMA_URL)


def carried(headers: Mapping[str, Any]) -> Context:
    """Return the context in a message's headers, which any client may have written."""
    return propagate.extract({name: value for name, value in headers.items() if isinstance(value, str)})


def failed(span: Span, error: BaseException) -> None:
    """Write on the span why it failed. `Retry` and `Reject` are events, not failures."""
    if isinstance(error, Retry | Reject):
        asked(span, error)
        return
    (name,) = failure(error).values()
    span.set_attribute("error.type", name)
    span.set_status(Status(StatusCode.ERROR, name))
    # An error in a handler's __str__ must not replace the error that the handler raised.
    with suppress(Exception):
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))


def asked(span: Span, asked_for: Retry | Reject | Ack, message_id: str = "") -> None:
    """Add an event for the handler's `Retry` or `Reject`, or for a repeated message; in a batch, with its id."""
    attributes: dict[str, Any] = {"messaging.message.id": message_id} if message_id else {}
    if isinstance(asked_for, Ack):
        span.add_event("repeated", attributes)
        return
    if isinstance(asked_for, Reject):
        span.add_event("reject", attributes | {"redis_streams.reason": str(asked_for.reason)})
        return
    if asked_for.delay is not None:
        attributes["redis_streams.delay"] = asked_for.delay
    span.add_event("retry", attributes | {"redis_streams.counted": asked_for.count})
