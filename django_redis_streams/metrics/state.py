"""Gauges of the state on the servers: streams, groups, waiting messages, and the servers themselves.

Where the outbox is installed, the databases are asked as well, for what isn't on the servers yet.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from .. import connections
from ..outbox.bounded import Asked
from ..outbox.presence import declared, is_installed
from . import names
from .exposition import check_installed

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    from ..inspection import GroupState, ServerState, StreamState

    Family = CounterMetricFamily | GaugeMetricFamily

__all__ = ["Collector"]

logger = logging.getLogger("django_redis_streams")

# In seconds. As long as the servers get: a database that hangs must not keep their figures from Prometheus.
_DATABASES_WITHIN: Final = 2

# None where it isn't known: unknown isn't 0, so there is no sample.
Values = Mapping[names.Metric, float | None]


class Collector:
    """What the servers hold of every declared stream and group, read anew at each scrape: two round trips a server.

    For a registry of one's own, `REGISTRY.register(Collector())`. A stream that can't be read has `redis_streams_up`
    at 0 and no other metric; the log says why. A server whose INFO can't be read has `redis_streams_server_up` at 0.
    A database whose outbox can't be read within two seconds has no metric; the log says why.
    Raises `ExtraMissing`, and `ConfigurationError`.
    """

    def describe(self) -> Iterable[Family]:
        """Return the families without samples, so that registering asks no server."""
        return _families().values()

    def collect(self) -> Iterable[Family]:
        """Read the families from the servers."""
        from .. import inspection  # noqa: PLC0415  a worker has this package for its buckets, and reads no state

        families, unsent = _families(), Asked()

        def add(labels: list[str], values: Values) -> None:
            for metric, value in values.items():
                if value is not None:
                    families[metric].add_metric(labels, value)

        with connections.hurried():
            found = inspection.overview(with_servers=True)
        for problem in found.problems:
            logger.warning(
                "No metrics of stream %r: %r", problem.stream, str(problem.error), extra={"stream": problem.stream}
            )
            add([problem.stream], {names.UP: 0})
        for stream in found.streams:
            add([stream.name], _of_stream(stream))
            for group in stream.groups:
                add([stream.name, group.name], _of_group(group))
        for server in found.servers:
            add([server.name], _of_server(server))
        for labels, values in _of_databases(unsent):
            add(labels, values)
        return families.values()


def _of_databases(asked: Asked) -> Iterator[tuple[list[str], Values]]:
    streams = declared()
    for database in asked.figures(_DATABASES_WITHIN):
        if database.problem is not None:
            if streams:  # else nobody needs it
                logger.warning("No metrics of the outbox: %s", database.problem)
            continue
        for stream in dict.fromkeys([*streams, *database.streams]):
            rows = database.streams.get(stream)
            values = {
                names.OUTBOX_MESSAGES: rows.unsent if rows else 0,
                names.OUTBOX_OLDEST: rows.oldest if rows else 0,
            }
            yield [database.database, stream], values


def _families() -> dict[names.Metric, Family]:
    check_installed()
    # An extra: imported at its first use.
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    families: dict[names.Metric, Family] = {}
    for each in (*names.GAUGES, *(names.OUTBOX if is_installed() else ())):
        families[each] = GaugeMetricFamily(each.name, each.told, labels=each.labels)
    for each in names.TOTALS:
        families[each] = CounterMetricFamily(each.name, each.told, labels=each.labels)
    return families


def _of_stream(stream: StreamState) -> Values:
    return {
        names.UP: 1,
        names.LENGTH: stream.length,
        names.DEAD: stream.dead_letters,
        names.UNDECLARED_GROUPS: stream.undeclared_groups,
        names.DELAYED: stream.delayed,
        names.DELAYED_OVERDUE: stream.overdue,
        names.IDS_AHEAD: stream.clock.ids_ahead,
    }


def _of_group(group: GroupState) -> Values:
    return {
        names.LAG: group.unread,
        names.OLDEST_UNREAD: group.oldest_unread,
        names.OLDEST_PENDING: group.oldest_pending,
        names.PENDING: group.pending,
        names.LONGEST_IDLE: group.longest_idle,
        names.RETRYING: group.retrying,
        names.RETRYING_OVERDUE: group.overdue,
        names.CONSUMERS: group.consumers,
        names.PAUSED: float(group.paused is not None),
        names.DEAD_LETTER_ARRIVALS: group.totals.get("dead-lettered", 0),
    }


def _of_server(server: ServerState) -> Values:
    clock: Values = {names.CLOCK_AHEAD: server.clock_ahead, names.CLOCK_JUMP: server.clock_jump}
    facts = server.facts
    if isinstance(facts, Exception):
        return {**clock, names.SERVER_UP: 0}
    return {
        **clock,
        names.SERVER_UP: 1,
        names.MEMORY: facts.memory,
        names.MAXMEMORY: facts.maxmemory,
        names.EVICTS_STREAMS: facts.evicts_streams,
        names.EVICTED_KEYS: facts.evicted,
    }
