"""A span for each call of a handler, in the trace of its message, and how long the call took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind

from ...handlers import Handler
from ...message import Message, asked_of
from .attributes import about, failure, in_lane
from .guarding import attempted
from .measuring import note_processed
from .spans import TRACER, asked, carried, failed

__all__ = ["flush_metrics", "flush_spans", "traced"]

# In milliseconds: how long a worker's process may wait at its end for the spans, and for the metrics.
_FLUSH_WITHIN: Final = 2_000

_Argument = Message | Sequence[Message]


def traced(handler: Handler, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Give each call of the function a span, which ends with the call, or with the coroutine that the call returns."""
    calls = _Calls(handler)

    @wraps(function)
    def call(argument: _Argument) -> Any:
        began = _Call(calls, argument)
        with began.current():
            result = function(argument)
        if asyncio.iscoroutine(result):
            return _awaited(result, began)
        began.end()
        return result

    return call


async def _awaited(coroutine: Coroutine[Any, Any, Any], began: _Call) -> Any:
    with began.current():
        result = await coroutine
    began.end()
    return result


class _Calls:
    """What all calls of one handler by one consumer share, made once."""

    def __init__(self, handler: Handler) -> None:
        self.name = f"process {handler.stream}"
        self.measured = about(handler.stream, "process") | {"messaging.consumer.group.name": handler.group}
        self.attributes = self.measured | {
            "messaging.operation.type": "process",
            "code.function.name": handler.name,
        }
        if handler.consumer:
            self.attributes["messaging.client.id"] = handler.consumer
        self._measured_in: dict[str, Mapping[str, Any]] = {}

    def measured_in(self, lane: str) -> Mapping[str, Any]:
        """Return the attributes of the metric for messages of this lane."""
        found = self._measured_in.get(lane)
        if found is None:
            found = self._measured_in[lane] = self.measured | in_lane(lane)
        return found


class _Call:
    """One call of a handler: its span, and the context in which it runs.

    With one message, the parent is the span that published it. A batch has several such spans, so its parent is the
    worker's current span. Both link to every span that published a message.
    """

    __slots__ = ("_argument", "_began", "_calls", "_lane", "_span", "_started", "_within")

    def __init__(self, calls: _Calls, argument: _Argument) -> None:
        self._calls = calls
        self._argument = argument
        self._lane = argument.lane if isinstance(argument, Message) else _common_lane(argument)
        self._started, self._began = time.time_ns(), time.perf_counter_ns()
        begun: tuple[Span, Context] = attempted((INVALID_SPAN, contexts.get_current()), self._begun)
        self._span, self._within = begun

    def _begun(self) -> tuple[Span, Context]:
        argument, attributes = self._argument, self._calls.attributes | in_lane(self._lane)
        if isinstance(argument, Message):
            within = carried(argument.headers)
            published = [within]
            attributes |= {"messaging.message.id": argument.id, "redis_streams.attempt": argument.attempt}
        else:
            within = contexts.get_current()
            published = [carried(each.headers) for each in argument]
            attributes |= {"messaging.batch.message_count": len(argument)}
        span = TRACER.start_span(
            self._calls.name,
            within,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=_links(published),
            start_time=self._started,
        )
        return span, trace.set_span_in_context(span, within)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the span the current one; an exception ends it."""
        token = contexts.attach(self._within)
        try:
            yield
        except BaseException as error:
            self.end(error)
            raise
        finally:
            contexts.detach(token)

    def end(self, error: BaseException | None = None) -> None:
        """End the span, and measure the call: both tell the same duration."""
        lasted = time.perf_counter_ns() - self._began
        attributes = self._calls.measured_in(self._lane)
        if failed_by := failure(error):
            attributes = {**attributes, **failed_by}
        attempted(None, note_processed, lasted / 1e9, attributes)
        attempted(None, self._describe, error)
        attempted(None, self._span.end, self._started + lasted)

    def _describe(self, error: BaseException | None) -> None:
        """Write on the span what became of the call."""
        argument = self._argument
        if error is not None:
            failed(self._span, error)
        elif isinstance(argument, Message):
            if (cause := asked_of(argument)) is not None:
                asked(self._span, cause)
        else:
            for each in argument:
                if (cause := asked_of(each)) is not None:
                    asked(self._span, cause, each.id)


def _common_lane(messages: Sequence[Message]) -> str:
    """Return the lane of all these messages, or "" where they are of several."""
    lanes = {each.lane for each in messages}
    return lanes.pop() if len(lanes) == 1 else ""


def _links(published: list[Context]) -> list[Link]:
    found = [trace.get_current_span(each).get_span_context() for each in published]
    return [Link(each) for each in found if each.is_valid]


def flush_spans() -> None:
    """Export the spans of this process, which is about to end without Python's own clean-up."""
    _flush(trace.get_tracer_provider())


def flush_metrics() -> None:
    """Export the metrics of this process, likewise."""
    _flush(metrics.get_meter_provider())


def _flush(provider: object) -> None:
    force_flush: Callable[[int], object] | None = getattr(provider, "force_flush", None)
    if force_flush is not None:
        force_flush(_FLUSH_WITHIN)
