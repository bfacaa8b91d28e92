"""A span for each call of `publish` or `publish_many`; the messages carry its context."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate
from opentelemetry.trace import Span, SpanKind

from ...message import Message
from ...publishing import Publication
from .spans import TRACER, about, carried, failed

__all__ = ["traced_publication", "unsent"]


@contextmanager
def traced_publication(publication: Publication) -> Iterator[None]:
    """Make a span for the call, and put its context into the headers."""
    stream = publication.config.name
    with TRACER.start_as_current_span(
        f"publish {stream}",
        kind=SpanKind.PRODUCER,
        attributes=about(stream, "publish", "send"),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        _inject(publication)
        try:
            yield
        except BaseException as error:
            failed(span, error)
            raise
        finally:
            _tell_what(span, publication)


def _tell_what(span: Span, publication: Publication) -> None:
    if publication.message_id:
        span.set_attribute("messaging.message.id", publication.message_id)
    if publication.count is not None:
        span.set_attribute("messaging.batch.message_count", publication.count)


def _inject(publication: Publication) -> None:
    given: object = publication.headers or {}
    # `publish` refuses headers that aren't a mapping; a flat entry has no field for headers.
    if isinstance(given, Mapping) and publication.config.format != "flat":
        headers: dict[str, Any] = {**given}
        propagate.inject(headers)
        publication.headers = headers


def unsent(*, message: Message, error: BaseException, **_: Any) -> None:
    """Add a failed span to the message's trace: the transaction is committed, but the message couldn't be sent."""
    attributes = about(message.stream, "send", "send") | {"messaging.message.id": message.id}
    context = carried(message.headers)
    span = TRACER.start_span(f"send {message.stream}", context, kind=SpanKind.CLIENT, attributes=attributes)
    failed(span, error)
    span.end()
