"""What a message is and what handling it is: the same for both sides.

Handling is one write of 16 bytes to a file in memory, whose size so tells how many messages were handled. What is
written is looked up by the payload: a worker that left out decoding it would write nothing.
"""

import os
import time
from typing import Any

__all__ = ["MARKS", "PAYLOAD", "SIZE", "SLEEP", "TALLY", "mark", "mark_time", "sleep"]

PAYLOAD = {"order_id": "ord_123", "customer_id": "cus_456", "total": 99.99}
SIZE = 16
MARKS = {"ord_123": b"=" * SIZE}
# How long the handler of drain.threads sleeps, in seconds.
SLEEP = 0.005
# The descriptor of the file, for processes that handle.
TALLY = int(os.environ.get("BENCH_TALLY", "-1"))


def mark(payload: dict[str, Any]) -> None:
    """Handle a message."""
    os.write(TALLY, MARKS[payload["order_id"]])


def sleep(payload: dict[str, Any]) -> None:
    """Handle a message slowly, as one that waits for a database does."""
    time.sleep(SLEEP)
    os.write(TALLY, MARKS[payload["order_id"]])


def mark_time(payload: dict[str, Any]) -> None:
    """Handle a message by writing when that was, on the clock that all processes share."""
    os.write(TALLY, time.monotonic_ns().to_bytes(SIZE, "little") if payload["order_id"] else b"")
