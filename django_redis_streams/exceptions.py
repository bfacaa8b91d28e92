"""What can go wrong, by name.

Every error of this package is a `StreamsError`, so one `except` covers them all. `Retry` and `Reject` are
not errors: a handler raises them to say what shall become of its message.
"""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured

__all__ = [
    "ConfigurationError",
    "ExtraMissing",
    "GroupInUse",
    "HandlerError",
    "InvalidMessage",
    "NotCommitted",
    "NotReplayable",
    "NotReplicated",
    "PayloadTooLarge",
    "Reject",
    "Retry",
    "ServerRefused",
    "ServerUnreachable",
    "StreamsError",
    "TransactionError",
    "UnknownStream",
    "WorkerProcessEnded",
]


class StreamsError(Exception):
    """Base of every error that this package raises.

    For an error of `publish_many`, `sent` is how many of its messages are on the stream nevertheless.
    """

    sent: int = 0


class ConfigurationError(StreamsError, ImproperlyConfigured):
    """`REDIS_STREAMS` or `@publishes` says something that can't work; the text names it and says what to change."""


class ExtraMissing(StreamsError, ImportError):
    """A feature needs a package that isn't installed; the text says how to install it."""


class UnknownStream(StreamsError, LookupError):
    """`REDIS_STREAMS` doesn't declare this stream or group."""


class InvalidMessage(StreamsError, ValueError):
    """A message can't be published: its payload, type, key, headers, lane or time is wrong."""


class PayloadTooLarge(InvalidMessage):
    """The encoded payload is above the stream's `MAX_PAYLOAD`."""


class TransactionError(StreamsError):
    """Publishing isn't possible in the database transaction that it was called in."""


class HandlerError(StreamsError, TypeError):
    """A handler is declared in a way that can't work."""


class NotCommitted(StreamsError):
    """A handler returned, and its work in a database wasn't committed: the run has failed."""


class NotReplayable(StreamsError):
    """A dead letter can't be replayed: its group isn't declared, or this package didn't write it."""


class NotReplicated(StreamsError):
    """A message is on the server, and fewer replicas than the stream's `MIN_REPLICAS` are known to have it.

    It arrives, unless a failover loses it. `entry_id` is its entry's: "" for a delayed message, and for several.
    """

    def __init__(self, text: str, entry_id: str = "") -> None:
        super().__init__(text)
        self.entry_id = entry_id


class ServerUnreachable(StreamsError):
    """The server can't be reached, doesn't let us in, or can't serve now. Never names a password.

    `was_idle` is whether a connection was lost that had been idle for a second or more. The server may have closed that
    one alone. `was_silent` is whether no answer came in time, from a server that refused nothing and closed nothing.
    `node` is the address of the node of a cluster that it is about, while others may be well; "" where it is about all.
    `moved` is whether the keys are on another node by now, to which the next connection leads.
    """

    was_idle = False
    was_silent = False
    moved = False
    node: str = ""


class ServerRefused(StreamsError):
    """The server refused a command: its memory or disk is full, a key has another type, or an ACL forbids it."""


class WorkerProcessEnded(StreamsError):
    """A worker's process ended while it ran a message: the run has failed. Never raised; signals carry it."""


class GroupInUse(StreamsError):
    """A group can't be deleted, because the settings declare it or somebody consumes it."""


class Retry(Exception):
    """Raised by a handler: run this message again.

    `delay` is in seconds (or a timedelta) from now; without it the group's backoff decides. With
    `count=False` the run uses up none of the message's retries: for "not yet" rather than "it failed".
    """

    def __init__(self, delay: float | timedelta | None = None, *, count: bool = True) -> None:
        self.delay = delay.total_seconds() if isinstance(delay, timedelta) else delay
        if self.delay is not None and not 0 <= self.delay < float("inf"):
            raise ValueError(f"Retry(delay={delay!r}): expected seconds, 0 or more, or a timedelta.")
        self.count = count
        super().__init__("asked to be run again")


class Reject(Exception):
    """Raised by a handler: this message can never succeed; it becomes a dead letter now."""

    def __init__(self, reason: str = "rejected by its handler") -> None:
        self.reason = reason
        super().__init__(reason)
