"""A span for each call of `publish` or `publish_many`; the messages carry its context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind

from ...message import Message
from ...publishing import Publication
from .attributes import about, in_lane
from .guarding import attempted
from .spans import TRACER, carried, failed

__all__ = ["postponed", "traced_publication", "unsent"]


@contextmanager
def traced_publication(publication: Publication) -> Iterator[None]:
    """Make a span for the call, and put its context into the headers."""
    # Without a span of its own, a message still carries the context of the caller.
    caller = trace.NonRecordingSpan(trace.get_current_span().get_span_context())
    span: Span = attempted(caller, _begun, publication.config.name)
    token = contexts.attach(trace.set_span_in_context(span))
    try:
        attempted(None, _inject, publication)
        yield
    except BaseException as error:
        attempted(None, failed, span, error)
        raise
    finally:
        contexts.detach(token)
        attempted(None, _end, span, publication)


def _begun(stream: str) -> Span:
    attributes = about(stream, "publish") | {"messaging.operation.type": "send"}
    return TRACER.start_span(f"publish {stream}", kind=SpanKind.PRODUCER, attributes=attributes)


def _end(span: Span, publication: Publication) -> None:
    known: dict[str, Any] = {**in_lane(publication.lane)}
    if publication.message_id:
        known["messaging.message.id"] = publication.message_id
    if publication.count is not None:
        known["messaging.batch.message_count"] = publication.count
    span.set_attributes(known)
    span.end()


def _inject(publication: Publication) -> None:
    given: object = publication.headers or {}
    # `publish` refuses headers that aren't a mapping; a flat entry has no field for headers.
    if isinstance(given, Mapping) and publication.config.format != "flat":
        headers: dict[str, Any] = {**given}
        propagate.inject(headers)
        publication.headers = headers


def unsent(*, message: Message, error: BaseException, **_: Any) -> None:
    """Add a failed span to the message's trace: the transaction is committed, but the message couldn't be sent."""
    attempted(None, _add_unsent, message, error)


def postponed(*, message: Message, error: BaseException, **_: Any) -> None:
    """Do the same where the outbox keeps the message, and say so by an event."""
    attempted(None, _add_unsent, message, error, "postponed")


def _add_unsent(message: Message, error: BaseException, event: str = "") -> None:
    attributes = about(message.stream, "send") | in_lane(message.lane)
    attributes |= {"messaging.operation.type": "send", "messaging.message.id": message.id}
    context = carried(message.headers)
    span = TRACER.start_span(f"send {message.stream}", context, kind=SpanKind.CLIENT, attributes=attributes)
    failed(span, error)
    if event:
        span.add_event(event)
    span.end()
