"""Gauges of the state on the servers: streams, groups, and waiting messages."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import connections, inspection
from ..inspection import GroupState, StreamState
from . import names
from .exposition import check_installed

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

__all__ = ["Collector"]

logger = logging.getLogger("django_redis_streams")


class Collector:
    """The gauges of every declared stream and group, read anew at each scrape: one round trip for each server.

    For a registry of one's own, `REGISTRY.register(Collector())`. A stream that can't be read has
    `redis_streams_up` at 0 and no other gauge; the log says why. Raises `ExtraMissing`, and `ConfigurationError`.
    """

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return the families without samples, so that registering asks no server."""
        return _families().values()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Read the families from the servers."""
        families = _families()
        with connections.hurried():
            found = inspection.overview()
        for problem in found.problems:
            logger.warning(
                "No metrics of stream %r: %r", problem.stream, str(problem.error), extra={"stream": problem.stream}
            )
            families[names.UP].add_metric([problem.stream], 0)
        for stream in found.streams:
            for metric, value in _of_stream(stream).items():
                families[metric].add_metric([stream.name], value)
            for group in stream.groups:
                for metric, value in _of_group(group).items():
                    families[metric].add_metric([stream.name, group.name], value)
        return families.values()


def _families() -> dict[names.Metric, GaugeMetricFamily]:
    check_installed()
    # An extra: imported at its first use.
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

    return {each: GaugeMetricFamily(each.name, each.told, labels=each.labels) for each in names.GAUGES}


def _of_stream(stream: StreamState) -> dict[names.Metric, float]:
    return {
        names.UP: 1,
        names.LENGTH: stream.length,
        names.DEAD: stream.dead_letters,
        names.UNDECLARED_GROUPS: stream.undeclared_groups,
        names.DELAYED: stream.delayed,
    }


def _of_group(group: GroupState) -> dict[names.Metric, float]:
    known: dict[names.Metric, float] = {} if group.unread is None else {names.LAG: group.unread}
    return known | {
        names.OLDEST_UNREAD: group.oldest_unread,
        names.PENDING: group.pending,
        names.OLDEST_PENDING: group.oldest_pending,
        names.RETRYING: group.retrying,
        names.CONSUMERS: group.consumers,
        names.PAUSED: float(group.paused is not None),
    }
