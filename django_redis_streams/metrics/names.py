"""The names and labels of all metrics. No label is a message, type or process, so the series stay few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "CLAIMED", "CONSUMERS", "COUNTERS", "DEAD", "DEAD_LETTERED", "DELAYED", "DURATION", "GAUGES", "HISTOGRAMS", "LAG",
    "LATENCY", "LENGTH", "OLDEST_PENDING", "OLDEST_UNREAD", "PAUSED", "PENDING", "PROCESSED", "RETRIED", "RETRYING",
    "SKIPPED", "UNDECLARED_GROUPS", "UP", "Metric",
]  # fmt: skip

_STREAM: Final = ("stream",)
_GROUP: Final = ("stream", "group")


@dataclass(frozen=True, slots=True)
class Metric:
    """A name, its help text, and its labels."""

    name: str
    told: str
    labels: tuple[str, ...] = _GROUP


UP: Final = Metric("redis_streams_up", "1 where the stream's figures could be read from its server, else 0.", _STREAM)
LENGTH: Final = Metric("redis_streams_length", "Entries in the stream, all its lanes together.", _STREAM)
DEAD: Final = Metric("redis_streams_dead_letters", "Dead letters that nobody has replayed or discarded.", _STREAM)
UNDECLARED_GROUPS: Final = Metric(
    "redis_streams_undeclared_groups", "Groups on the server that the settings don't declare.", _STREAM
)
DELAYED: Final = Metric("redis_streams_delayed", "Messages that are to be published later.", _STREAM)
LAG: Final = Metric(
    "redis_streams_lag", "Messages not yet delivered to the group; missing where the server can't tell how many."
)
OLDEST_UNREAD: Final = Metric(
    "redis_streams_oldest_unread_age_seconds",
    "Age of the oldest message not yet delivered to the group, 0 without one.",
)
PENDING: Final = Metric("redis_streams_pending", "Messages that were delivered and aren't settled.")
OLDEST_PENDING: Final = Metric(
    "redis_streams_oldest_pending_age_seconds", "Age of the oldest message that isn't settled, 0 without one."
)
RETRYING: Final = Metric("redis_streams_retrying", "Messages that failed and wait for their next run.")
CONSUMERS: Final = Metric("redis_streams_consumers", "Consumers that are alive.")
PAUSED: Final = Metric("redis_streams_paused", "1 while the group is paused, else 0.")

GAUGES: Final = (
    UP, LENGTH, DEAD, UNDECLARED_GROUPS, DELAYED, LAG, OLDEST_UNREAD, PENDING, OLDEST_PENDING, RETRYING, CONSUMERS,
    PAUSED,
)  # fmt: skip

PROCESSED: Final = Metric("redis_streams_processed_total", "Messages that were handled and acknowledged.")
SKIPPED: Final = Metric("redis_streams_skipped_total", "Messages that no handler takes, acknowledged unrun.")
RETRIED: Final = Metric("redis_streams_retried_total", "Runs that failed and are tried again.")
DEAD_LETTERED: Final = Metric("redis_streams_dead_lettered_total", "Messages that became dead letters.")
CLAIMED: Final = Metric("redis_streams_claimed_total", "Messages taken over from other consumers.")
DURATION: Final = Metric("redis_streams_duration_seconds", "How long the run of a message took.")
LATENCY: Final = Metric("redis_streams_latency_seconds", "Time from publishing to the begin of the first run.")

COUNTERS: Final = (PROCESSED, SKIPPED, RETRIED, DEAD_LETTERED, CLAIMED)
HISTOGRAMS: Final = (DURATION, LATENCY)
