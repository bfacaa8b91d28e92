"""How long messages had waited when their run began: from what the entry's id says, to the clock of this host.

Of what is read from the stream itself; a retry or a replay has waited on purpose.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...store.consume.delivery import Delivery
from .counters import Histogram

__all__ = ["note_latency", "note_latency_at_once"]

# In seconds: what ran for less, all together, might as well have run one after another.
_SHORT = 0.05
# Of so few messages each is looked at.
_FEW = 8


def note_latency(histogram: Histogram, batch: Sequence[Delivery], began: float, durations: Sequence[float]) -> None:
    """Note how long each of a batch had waited, whose first run began at `began`, in seconds since 1970.

    Mostly all of a batch fall into one bucket, which its first and its last tell: then that is one step for all. Else
    the same is tried with each half of it.
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
    """Note how long messages had waited that ran at the same time, and have all ended just now."""
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
