"""Settings of a worker that traces and measures.

It exports spans in batches, each a line of JSON in the file `TEST_SPANS`, and sums in lines of `TEST_METRICS`.
"""

import json
import os
from collections.abc import Sequence

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
    Sum,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from .worker_settings import *  # noqa: F403  the same worker

INSTALLED_APPS = [*INSTALLED_APPS, "django_redis_streams.contrib.opentelemetry"]  # noqa: F405  of above


class _Lines(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = "".join(
            f"{json.dumps([each.name, (each.attributes or {}).get('messaging.client.id')])}\n" for each in spans
        )
        with open(os.environ["TEST_SPANS"], "a") as file:  # noqa: PTH123  as plain as can be
            file.write(lines)
        return SpanExportResult.SUCCESS


class _Sums(MetricExporter):
    def export(self, metrics_data: MetricsData, *_: object, **__: object) -> MetricExportResult:
        scopes = [each for resource in metrics_data.resource_metrics for each in resource.scope_metrics]
        with open(os.environ["TEST_METRICS"], "a") as file:  # noqa: PTH123  as above
            for metric in [each for scope in scopes for each in scope.metrics if isinstance(each.data, Sum)]:
                file.writelines(f"{json.dumps([metric.name, point.value])}\n" for point in metric.data.data_points)
        return MetricExportResult.SUCCESS

    def force_flush(self, *_: object, **__: object) -> bool:
        return True

    def shutdown(self, *_: object, **__: object) -> None:
        pass


_provider = TracerProvider()
# Spans that aren't flushed at the end of a process would be exported an hour later, too late for the test.
_provider.add_span_processor(BatchSpanProcessor(_Lines(), schedule_delay_millis=3_600_000))
trace.set_tracer_provider(_provider)
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(_Sums(), export_interval_millis=3_600_000)]))
