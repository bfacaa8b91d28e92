"""The names and labels of all metrics. No label is a message, type or process, so the series stay few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "CLAIMED", "CLOCK_AHEAD", "CLOCK_JUMP", "CONSUMERS", "COUNTERS", "DEAD", "DEAD_LETTERED", "DEAD_LETTER_ARRIVALS",
    "DELAYED", "DELAYED_OVERDUE", "DURATION", "EVICTED_KEYS", "EVICTS_STREAMS", "GAUGES", "HISTOGRAMS", "LAG",
    "LATENCY", "LENGTH", "LONGEST_IDLE", "MAXMEMORY", "MEMORY", "OLDEST_PENDING", "OLDEST_UNREAD", "OUTBOX",
    "OUTBOX_MESSAGES", "OUTBOX_OLDEST", "PAUSED", "PENDING", "PROCESSED", "REPEATED", "RETRIED", "RETRYING",
    "RETRYING_OVERDUE", "SERVER_UP", "SKIPPED", "TOTALS", "UNDECLARED_GROUPS", "UP", "Metric",
]  # fmt: skip

_SERVER: Final = ("connection",)
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
DELAYED_OVERDUE: Final = Metric(
    "redis_streams_delayed_overdue", "Delayed messages that are due for 30 s and not yet published.", _STREAM
)
IDS_AHEAD: Final = Metric(
    "redis_streams_ids_ahead_seconds", "How far the stream's last id is ahead of the server's clock, else 0.", _STREAM
)
LAG: Final = Metric(
    "redis_streams_lag", "Messages not yet delivered to the group; missing where the server can't tell how many."
)
OLDEST_UNREAD: Final = Metric(
    "redis_streams_oldest_unread_age_seconds",
    "Age of the oldest message not yet delivered to the group, 0 without one; missing where its id is in the future.",
)
PENDING: Final = Metric("redis_streams_pending", "Messages that were delivered and aren't settled.")
OLDEST_PENDING: Final = Metric(
    "redis_streams_oldest_pending_age_seconds",
    "Age of the oldest message that isn't settled, 0 without one; missing where its id is in the future.",
)
LONGEST_IDLE: Final = Metric(
    "redis_streams_longest_pending_idle_seconds",
    "Time since the longest-held pending message was delivered to its consumer or renewed by it, 0 without one.",
)
RETRYING: Final = Metric("redis_streams_retrying", "Messages that failed and wait for their next run.")
RETRYING_OVERDUE: Final = Metric(
    "redis_streams_retrying_overdue", "Messages whose next run is due for 30 s and which can't be read yet."
)
CONSUMERS: Final = Metric("redis_streams_consumers", "Consumers that are alive.")
PAUSED: Final = Metric("redis_streams_paused", "1 while the group is paused, else 0.")

DEAD_LETTER_ARRIVALS: Final = Metric(
    "redis_streams_dead_letter_arrivals_total", "Messages that became dead letters, as the server has counted them."
)

SERVER_UP: Final = Metric("redis_streams_server_up", "1 where the server's INFO could be read, else 0.", _SERVER)
MEMORY: Final = Metric("redis_streams_server_memory_bytes", "Memory that the server uses.", _SERVER)
MAXMEMORY: Final = Metric("redis_streams_server_maxmemory_bytes", "The server's maxmemory, 0 without a bound.", _SERVER)
EVICTS_STREAMS: Final = Metric(
    "redis_streams_server_evicts_streams",
    "1 where the server's maxmemory-policy lets it delete streams, else 0.",
    _SERVER,
)
EVICTED_KEYS: Final = Metric(
    "redis_streams_server_evicted_keys_total", "Keys that the server has deleted as its memory was full.", _SERVER
)
CLOCK_AHEAD: Final = Metric(
    "redis_streams_server_clock_ahead_seconds",
    "How much more the server's clock shows than that of the host which was scraped, at least; negative: less.",
    _SERVER,
)
CLOCK_JUMP: Final = Metric(
    "redis_streams_server_clock_jump_seconds",
    "By how much the server's clock has jumped within the last hour, negative: back; 0 if it hasn't.",
    _SERVER,
)

GAUGES: Final = (
    UP, LENGTH, DEAD, UNDECLARED_GROUPS, DELAYED, DELAYED_OVERDUE, IDS_AHEAD, LAG, OLDEST_UNREAD, PENDING,
    OLDEST_PENDING, LONGEST_IDLE, RETRYING, RETRYING_OVERDUE, CONSUMERS, PAUSED, SERVER_UP, MEMORY, MAXMEMORY,
    EVICTS_STREAMS, CLOCK_AHEAD, CLOCK_JUMP,
)  # fmt: skip
# Counted by the servers, not by workers.
TOTALS: Final = (DEAD_LETTER_ARRIVALS, EVICTED_KEYS)

_OUTBOX: Final = ("database", "stream")
OUTBOX_MESSAGES: Final = Metric(
    "redis_streams_outbox_messages", "Messages in the database's outbox that aren't on the server.", _OUTBOX
)
OUTBOX_OLDEST: Final = Metric(
    "redis_streams_outbox_oldest_seconds", "Age of the oldest of these by the database's clock, 0 without one.", _OUTBOX
)

# Of the databases, where the app of the outbox is installed.
OUTBOX: Final = (OUTBOX_MESSAGES, OUTBOX_OLDEST)

PROCESSED: Final = Metric("redis_streams_processed_total", "Messages that were handled and acknowledged.")
SKIPPED: Final = Metric("redis_streams_skipped_total", "Messages that no handler takes, acknowledged unrun.")
REPEATED: Final = Metric(
    "redis_streams_repeated_total", "Messages whose effect was committed before, acknowledged unrun."
)
RETRIED: Final = Metric("redis_streams_retried_total", "Runs that failed and are tried again.")
DEAD_LETTERED: Final = Metric("redis_streams_dead_lettered_total", "Messages that became dead letters.")
CLAIMED: Final = Metric("redis_streams_claimed_total", "Messages taken over from other consumers.")
DURATION: Final = Metric("redis_streams_duration_seconds", "How long the run of a message took.")
LATENCY: Final = Metric("redis_streams_latency_seconds", "Time from publishing to the begin of the first run.")

COUNTERS: Final = (PROCESSED, SKIPPED, REPEATED, RETRIED, DEAD_LETTERED, CLAIMED)
HISTOGRAMS: Final = (DURATION, LATENCY)
