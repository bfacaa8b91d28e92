"""Receivers of the signals about messages, for a worker to import: each call is a line in the file `TEST_HEARD`.

With `TEST_RECEIVER_HANGS` the first call of `message_failed` never returns; a receiver that raises is there, too.
"""

import json
import os
import time
from typing import Any

from django.dispatch import Signal

from django_redis_streams import signals
from django_redis_streams.message import Message
from django_redis_streams.worker.timing import DEFAULT_TIMING

from .obedient_handlers import once

_NAMES = {
    signals.message_processed: "processed",
    signals.message_failed: "failed",
    signals.message_dead_lettered: "dead-lettered",
}


def _hear(message: Message, signal: Signal, **arguments: Any) -> None:
    """Append a line in one write, so that lines of several processes never mix."""
    told = {name: str(value) for name, value in arguments.items() if name != "sender"}
    line = json.dumps({"signal": _NAMES[signal], "id": message.id, "do": message.payload["do"], **told})
    descriptor = os.open(os.environ["TEST_HEARD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def _hang(**_: Any) -> None:
    if "TEST_RECEIVER_HANGS" in os.environ and once(f"{os.environ['TEST_HEARD']}.hangs"):
        time.sleep(600)


def _raise(**_: Any) -> None:
    raise ValueError("a receiver that fails")


for _signal in _NAMES:
    _signal.connect(_raise)
    _signal.connect(_hear)
signals.message_failed.connect(_hang)
# For less time than usual, so that a test is quick; but for longer than a process takes to end under coverage.
object.__setattr__(DEFAULT_TIMING, "telling", 8.0)
