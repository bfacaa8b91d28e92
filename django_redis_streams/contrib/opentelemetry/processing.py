"""A span for each call of a handler, in the trace of its message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind

from ...handlers import Handler
from ...message import Message, asked_of
from .spans import TRACER, about, asked, carried, failed

__all__ = ["flush", "traced"]

# In milliseconds: how long a worker's process may wait at its end for the span processors.
_FLUSH_WITHIN: Final = 2_000

_Argument = Message | Sequence[Message]


def traced(handler: Handler, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Give each call of the function a span, which ends with the call, or with the coroutine that the call returns."""

    @wraps(function)
    def call(argument: _Argument) -> Any:
        span, within = _begun(handler, argument)
        with _current(span, within):
            result = function(argument)
        if asyncio.iscoroutine(result):
            return _awaited(result, span, within, argument)
        _end(span, argument)
        return result

    return call


async def _awaited(coroutine: Coroutine[Any, Any, Any], span: Span, within: Context, argument: _Argument) -> Any:
    with _current(span, within):
        result = await coroutine
    _end(span, argument)
    return result


def _begun(handler: Handler, argument: _Argument) -> tuple[Span, Context]:
    """Begin a span for one call; return the span, and the context in which the call runs.

    With one message, the parent is the span that published it. A batch has several such spans, so its parent is the
    worker's current span. Both link to every span that published a message.
    """
    attributes = about(handler.stream, "process", "process")
    attributes |= {"messaging.consumer.group.name": handler.group, "code.function.name": handler.name}
    if isinstance(argument, Message):
        within = carried(argument.headers)
        published = [within]
        attributes |= {"messaging.message.id": argument.id, "redis_streams.attempt": argument.attempt}
    else:
        within = contexts.get_current()
        published = [carried(each.headers) for each in argument]
        attributes |= {"messaging.batch.message_count": len(argument)}
    name = f"process {handler.stream}"
    span = TRACER.start_span(name, within, kind=SpanKind.CONSUMER, attributes=attributes, links=_links(published))
    return span, trace.set_span_in_context(span, within)


def _links(published: list[Context]) -> list[Link]:
    found = [trace.get_current_span(each).get_span_context() for each in published]
    return [Link(each) for each in found if each.is_valid]


@contextmanager
def _current(span: Span, within: Context) -> Iterator[None]:
    """Make the span the current one; an exception ends it."""
    token = contexts.attach(within)
    try:
        yield
    except BaseException as error:
        failed(span, error)
        span.end()
        raise
    finally:
        contexts.detach(token)


def _end(span: Span, argument: _Argument) -> None:
    if isinstance(argument, Message):
        if (cause := asked_of(argument)) is not None:
            asked(span, cause)
    else:
        for each in argument:
            if (cause := asked_of(each)) is not None:
                asked(span, cause, each.id)
    span.end()


def flush() -> None:
    """Export the spans of this process, which is about to end without Python's own clean-up."""
    force_flush: Callable[[int], object] | None = getattr(trace.get_tracer_provider(), "force_flush", None)
    if force_flush is not None:
        force_flush(_FLUSH_WITHIN)
