"""Traces by OpenTelemetry: the extra `otel`, switched on by this app in INSTALLED_APPS.

What publishes a message and what handles it are spans of one trace, on whatever host: the context travels in the
message's headers, as W3C has it. Names and attributes are those of the conventions for messaging
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/). `publishing` and `processing` make the
spans, `spans` holds what the two have in common.
"""

from ...exceptions import ExtraMissing

try:
    # The api itself: `opentelemetry` alone is a namespace, which other packages share.
    from opentelemetry import trace  # noqa: F401
except ImportError:
    raise ExtraMissing(
        'Tracing needs the package opentelemetry-api, which isn\'t installed: pip install "django-redis-streams[otel]"'
    ) from None
