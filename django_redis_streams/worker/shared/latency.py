"""How long messages had waited when their run began: from the time in the entry's id to the clock of this host.

Only messages read from the stream itself count: a retry or a replay has waited on purpose.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...store.consume.delivery import Delivery
from .counters import Histogram

__all__ = ["note_latency", "note_latency_at_once"]

# In seconds: runs that together took less might as well have run one after another.
_SHORT = 0.05
# Among so few messages, each is looked at.
_FEW = 8


def note_latency(histogram: Histogram, batch: Sequence[Delivery], began: float, durations: Sequence[float]) -> None:
    """Note how long each message of a batch had waited; the first run began at `began`, in seconds since 1970.

    Mostly the whole batch falls into one bucket, as its first and last message tell: then one step counts all. Else the
    same is tried with each half of it.
    """
    first, last = batch[0], batch[-1]
    if first.key == last.key == first.origin.key:
        ended = began + sum(durations)
        least, most = max(0.0, began - _appended(last)), max(0.0, ended - _appended(first))
        bucket = histogram.bucket(least)
        if bucket == histogram.bucket(most):
            histogram.add_alike(bucket, len(batch), len(batch) * (least + most) / 2)
            return
    if len(batch) > _FEW:
        half = len(batch) // 2
        note_latency(histogram, batch[:half], began, durations[:half])
        note_latency(histogram, batch[half:], began + sum(durations[:half]), durations[half:])
        return
    latencies, start = [], began
    for delivery, duration in zip(batch, durations, strict=True):
        if not delivery.redelivered:
            latencies.append(max(0.0, start - _appended(delivery)))
        start += duration
    if latencies:
        histogram.add(latencies)


def note_latency_at_once(histogram: Histogram, ended: Sequence[Delivery], durations: Sequence[float]) -> None:
    """Note how long messages had waited that ran at the same time and have just ended."""
    now, all_together = time.time(), sum(durations)
    if all_together < _SHORT:
        note_latency(histogram, ended, now - all_together, durations)
        return
    latencies = [
        max(0.0, now - duration - _appended(delivery))
        for delivery, duration in zip(ended, durations, strict=True)
        if not delivery.redelivered
    ]
    if latencies:
        histogram.add(latencies)


def _appended(delivery: Delivery) -> float:
    return int(delivery.entry_id.partition("-")[0]) / 1000
