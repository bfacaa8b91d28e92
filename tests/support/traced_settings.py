"""Settings of a worker that traces. It exports spans in batches, each a line of JSON in the file `TEST_SPANS`."""

import json
import os
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from .worker_settings import *  # noqa: F403  the same worker

INSTALLED_APPS = [*INSTALLED_APPS, "django_redis_streams.contrib.opentelemetry"]  # noqa: F405  of above


class _Lines(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = "".join(f"{json.dumps([each.name, each.get_span_context().trace_id])}\n" for each in spans)
        with open(os.environ["TEST_SPANS"], "a") as file:  # noqa: PTH123  as plain as can be
            file.write(lines)
        return SpanExportResult.SUCCESS


_provider = TracerProvider()
# Spans that aren't flushed at the end of a process would be exported an hour later, too late for the test.
_provider.add_span_processor(BatchSpanProcessor(_Lines(), schedule_delay_millis=3_600_000))
trace.set_tracer_provider(_provider)
