"""The metrics of the conventions for messaging: what is sent, received and processed, and how long that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry import metrics

from ...publishing import Sent
from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership
from .attributes import SCHEMA_URL, about, failure, in_lane
from .guarding import attempted

__all__ = ["count_received", "count_sent", "note_processed"]

# In seconds: the boundaries that the conventions advise.
_BOUNDARIES: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

_meter: Final = metrics.get_meter("django_redis_streams", schema_url=SCHEMA_URL)
_sent: Final = _meter.create_counter(
    "messaging.client.sent.messages", "{message}", "Number of messages producer attempted to send to the broker."
)
_received: Final = _meter.create_counter(
    "messaging.client.consumed.messages", "{message}", "Number of messages that were delivered to the application."
)
_operation: Final = _meter.create_histogram(
    "messaging.client.operation.duration",
    "s",
    "Duration of messaging operation initiated by a producer or consumer client.",
    explicit_bucket_boundaries_advisory=_BOUNDARIES,
)
_process: Final = _meter.create_histogram(
    "messaging.process.duration",
    "s",
    "Duration of processing operation.",
    explicit_bucket_boundaries_advisory=_BOUNDARIES,
)


def count_sent(sent: Sent) -> None:
    """Count the messages of one sending, those that failed by their error, and note how long it took."""
    attempted(None, _count_sent, sent)


def _count_sent(sent: Sent) -> None:
    if not sent.replies:
        return
    shared = about(sent.config.name, "send") | in_lane(sent.lane)
    failures = [failure(reply).get("error.type") for reply in sent.replies]
    for error_type, count in Counter(failures).items():
        _sent.add(count, shared | ({"error.type": error_type} if error_type else {}))
    failed = next(filter(None, failures), None)
    ended = {"messaging.operation.type": "send"} | ({"error.type": failed} if failed else {})
    _operation.record(sent.seconds, shared | ended)


def count_received(membership: Membership, deliveries: Sequence[Delivery]) -> None:
    """Count deliveries of a consumer, by their lanes."""
    attempted(None, _count_received, membership, deliveries)


def _count_received(membership: Membership, deliveries: Sequence[Delivery]) -> None:
    shared = about(membership.stream.name, "receive") | {"messaging.consumer.group.name": membership.group.name}
    for lane, count in Counter([each.origin.lane for each in deliveries]).items():
        _received.add(count, shared | in_lane(lane))


def note_processed(seconds: float, attributes: Mapping[str, Any]) -> None:
    """Note how long a call of a handler took."""
    _process.record(seconds, attributes)
