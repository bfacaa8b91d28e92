"""What all spans share: their attributes, the context in a message's headers, and how they fail."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from ...exceptions import Reject, Retry

__all__ = ["TRACER", "about", "asked", "carried", "failed"]

TRACER: Final = trace.get_tracer("django_redis_streams")


def about(stream: str, operation: str, operation_type: str) -> dict[str, Any]:
    """Return the attributes of every span."""
    return {
        "messaging.system": "redis",
        "messaging.destination.name": stream,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation_type,
    }


def carried(headers: Mapping[str, Any]) -> Context:
    """Return the context in a message's headers, which any client may have written."""
    return propagate.extract({name: value for name, value in headers.items() if isinstance(value, str)})


def failed(span: Span, error: BaseException) -> None:
    """Write on the span why it failed. `Retry` and `Reject` are events, not failures."""
    if isinstance(error, Retry | Reject):
        asked(span, error)
        return
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    span.set_attribute("error.type", name)
    span.set_status(Status(StatusCode.ERROR, name))
    # An error in a handler's __str__ must not replace the error that the handler raised.
    with suppress(Exception):
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, f"{kind.__name__}: {error}"))


def asked(span: Span, asked_for: Retry | Reject, message_id: str = "") -> None:
    """Add an event for the handler's `Retry` or `Reject`; for one message of a batch, with its id."""
    attributes: dict[str, Any] = {"messaging.message.id": message_id} if message_id else {}
    if isinstance(asked_for, Reject):
        span.add_event("reject", attributes | {"redis_streams.reason": str(asked_for.reason)})
        return
    if asked_for.delay is not None:
        attributes["redis_streams.delay"] = asked_for.delay
    span.add_event("retry", attributes | {"redis_streams.counted": asked_for.count})
