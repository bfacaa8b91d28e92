"""Counters and histograms of the workers' work, and servers' clocks, made of the figures that a worker passes in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from . import names
from .exposition import check_installed

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

__all__ = ["BOUNDS", "Work", "work_families"]

# The upper bounds of the buckets, in seconds: from a fast handler to a backlog of hours.
BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_LABELS: Final = [*map(str, BOUNDS), "+Inf"]


@dataclass(frozen=True, slots=True)
class Work:
    """One group's work: counts by metric; histograms as the counts of their buckets, followed by the sum."""

    stream: str
    group: str
    counts: Mapping[names.Metric, int]
    durations: Sequence[float]
    latencies: Sequence[float]


def work_families(groups: Iterable[Work], clocks: Mapping[str, float]) -> list[Family]:
    """Return the families of some groups' work, and of how far servers' clocks are ahead, by connection.

    Raises `ExtraMissing`.
    """
    check_installed()
    # An extra: imported at its first use.
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily  # noqa: PLC0415

    counters = {each: CounterMetricFamily(each.name, each.told, labels=each.labels) for each in names.COUNTERS}
    histograms = {each: HistogramMetricFamily(each.name, each.told, labels=each.labels) for each in names.HISTOGRAMS}
    for work in groups:
        labels = [work.stream, work.group]
        for metric, count in work.counts.items():
            counters[metric].add_metric(labels, count)
        for metric, values in ((names.DURATION, work.durations), (names.LATENCY, work.latencies)):
            buckets = list(zip(_LABELS, accumulate(values[:-1]), strict=True))
            histograms[metric].add_metric(labels, buckets, sum_value=values[-1])
    clock = GaugeMetricFamily(names.CLOCK_AHEAD.name, names.CLOCK_AHEAD.told, labels=names.CLOCK_AHEAD.labels)
    for connection, ahead in clocks.items():
        clock.add_metric([connection], ahead)
    return [*counters.values(), *histograms.values(), clock]
