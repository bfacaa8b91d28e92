"""The app that switches tracing on."""

from __future__ import annotations

from django.apps import AppConfig

from ... import handlers, publishing, signals
from ...worker.system import forking
from .processing import flush, traced
from .publishing import traced_publication, unsent

__all__ = ["OpenTelemetryConfig"]


class OpenTelemetryConfig(AppConfig):
    """`django_redis_streams.contrib.opentelemetry` in INSTALLED_APPS. Raises `ExtraMissing` without the extra."""

    name = "django_redis_streams.contrib.opentelemetry"
    label = "django_redis_streams_opentelemetry"

    def ready(self) -> None:
        """Trace from now on, with the tracer provider that the project has set or sets later."""
        publishing.add_middleware(traced_publication)
        handlers.add_middleware(traced)
        signals.publish_failed.connect(unsent, dispatch_uid=self.name)
        forking.before_exit(flush)
