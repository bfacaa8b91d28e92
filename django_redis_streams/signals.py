"""What this package tells a project that listens. The sender of a signal about a message is the class `Message`.

| signal | when | arguments beside `message` |
|---|---|---|
| `message_published` | an entry is on the server | |
| `publish_failed` | what is committed couldn't be published: it is on no stream, or nobody knows | `error` |
| `publish_postponed` | a message couldn't be sent now; the outbox keeps it, and the relay tries again | `error` |
| `message_processed` | a handler returned, and the message is acknowledged | `handler`, `duration` |
| `message_failed` | a run failed | `handler`, `duration`, `error`, `outcome` |
| `message_dead_lettered` | a message is in the dead letter queue | `handler`, `reason`, `error` |

`message` is the `Message`, its payload as JSON gives it back; only in `publish_failed`, for a model's event that
couldn't be made, it is the values as they are in Python, or None where not even these could be read. `handler` is
the handler's dotted name, `""` where none was found; `duration` is in seconds; `error` is the exception, in
`message_dead_lettered` its text; `outcome` is "retry" or "dead letter"; `reason` is an `outcomes.Reason`, which is a
text.

Two signals are about a process of a worker, and have no sender and no message:

| signal | when |
|---|---|
| `worker_process_started` | a process was forked, and is about to start its consumers, or to tell of a dead one |
| `worker_process_ending` | it has settled and told all; what the process has buffered can still be sent |

A run fails if its handler raises, asks for a retry, or runs beyond its TIMEOUT, or if its process ends. In the last two
cases another process sends the signals. A signal is sent at most once for each run: it is missed if the process is
killed between settling and sending.

A receiver's error is logged and harms nobody. Receivers run where the event happens, so a slow one slows down
publishing or handling. Give them `**kwargs`: arguments may be added.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Final

from django.dispatch import Signal

from .message import Message

__all__ = [
    "has_receivers",
    "message_dead_lettered",
    "message_failed",
    "message_processed",
    "message_published",
    "publish_failed",
    "publish_postponed",
    "send",
    "send_to_all",
    "worker_has_receivers",
    "worker_process_ending",
    "worker_process_started",
]

logger = logging.getLogger("django_redis_streams")

message_published: Final = Signal()
publish_failed: Final = Signal()
publish_postponed: Final = Signal()
message_processed: Final = Signal()
message_failed: Final = Signal()
message_dead_lettered: Final = Signal()
worker_process_started: Final = Signal()
worker_process_ending: Final = Signal()


def has_receivers(signal: Signal) -> bool:
    """Return whether anybody listens: ask before making arguments that cost something."""
    return bool(signal.receivers) and signal.has_listeners(Message)


def worker_has_receivers() -> bool:
    """Return whether anybody listens to a signal that workers send."""
    return has_receivers(message_processed) or has_receivers(message_failed) or has_receivers(message_dead_lettered)


def send(signal: Signal, message: Message, **arguments: Any) -> None:
    """Send a signal. Never raises: Django logs a receiver's error, and what Django itself raises is logged here."""
    try:
        signal.send_robust(sender=Message, message=message, **arguments)
    except Exception:
        # Asynchronous receivers can't be run for a caller that is itself in an event loop's thread.
        logger.exception(
            "Receivers of a signal about message %s couldn't be run; %s",
            message.id,
            "an asynchronous receiver hears only of what is done outside an event loop's thread.",
            extra={"stream": message.stream, "message_id": message.id},
        )


def send_to_all(signal: Signal) -> None:
    """Send a signal about this process. Never raises: a receiver's error is logged, by Django or here."""
    try:
        signal.send_robust(sender=None)
    except Exception:
        logger.exception("Receivers of a signal about process %d couldn't be run", os.getpid())
