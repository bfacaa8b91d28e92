"""The app that switches traces and metrics on."""

from __future__ import annotations

from django.apps import AppConfig

from ... import handlers, publishing, signals
from ...worker.consumer import observing
from .measuring import count_received, count_sent
from .processing import flush_metrics, flush_spans, traced
from .publishing import postponed, traced_publication, unsent

__all__ = ["OpenTelemetryConfig"]


class OpenTelemetryConfig(AppConfig):
    """`django_redis_streams.contrib.opentelemetry` in INSTALLED_APPS. Raises `ExtraMissing` without the extra."""

    name = "django_redis_streams.contrib.opentelemetry"
    label = "django_redis_streams_opentelemetry"

    def ready(self) -> None:
        """Trace and measure from now on, with the providers that the project has set or sets later."""
        publishing.add_middleware(traced_publication)
        publishing.add_observer(count_sent)
        observing.add_observer(count_received)
        handlers.add_middleware(traced)
        signals.publish_failed.connect(unsent, dispatch_uid=self.name)
        signals.publish_postponed.connect(postponed, dispatch_uid=self.name)
        signals.worker_process_ending.connect(_flush, dispatch_uid=self.name)


def _flush(**_: object) -> None:
    flush_spans()
    flush_metrics()
