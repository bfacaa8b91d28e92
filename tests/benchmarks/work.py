"""A message, and the handling of it: the same on both sides.

Handling writes 16 bytes to a file in memory, so the file's size tells how many messages were handled. The bytes
are looked up by the payload: a worker that didn't decode it would write nothing.
"""

import os
import time
from typing import Any

__all__ = ["MARKS", "PAYLOAD", "SIZE", "SLEEP", "TALLY", "mark", "mark_time", "sleep"]

PAYLOAD = {"order_id": "ord_123", "customer_id": "cus_456", "total": 99.99}
SIZE = 16
MARKS = {"ord_123": b"=" * SIZE}
# The seconds that the handler of drain.threads sleeps.
SLEEP = 0.005
# The file descriptor for processes that handle messages.
TALLY = int(os.environ.get("BENCH_TALLY", "-1"))


def mark(payload: dict[str, Any]) -> None:
    """Handle a message."""
    os.write(TALLY, MARKS[payload["order_id"]])


def sleep(payload: dict[str, Any]) -> None:
    """Handle a message slowly, like a handler that waits for a database."""
    time.sleep(SLEEP)
    os.write(TALLY, MARKS[payload["order_id"]])


def mark_time(payload: dict[str, Any]) -> None:
    """Handle a message by writing the time, on the clock that all processes share."""
    os.write(TALLY, time.monotonic_ns().to_bytes(SIZE, "little") if payload["order_id"] else b"")
