"""Traces and metrics by OpenTelemetry: the extra `otel`, switched on by this app in INSTALLED_APPS.

Publishing and handling a message are spans of one trace, on whatever hosts: the message's headers carry the context,
in the W3C format. Names and attributes follow the conventions for messaging
(https://opentelemetry.io/docs/specs/semconv/messaging/). `publishing` and `processing` make the spans, `spans` holds
the code that both share. `measuring` has the metrics, `attributes` what spans and metrics share, and `guarding` keeps
errors of providers away from messages.
"""

from ...exceptions import ExtraMissing

try:
    # The api package itself: `opentelemetry` alone is a namespace that other packages share.
    from opentelemetry import trace  # noqa: F401
except ImportError:
    raise ExtraMissing(
        'Tracing needs the package opentelemetry-api, which isn\'t installed: pip install "django-redis-streams[otel]"'
    ) from None
