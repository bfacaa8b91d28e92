"""Which services each process of a worker runs, and how many connections that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ... import conf
from ..options import Options
from .draining import Draining
from .heartbeat import Heartbeat
from .listener import Listener
from .maintenance import Maintenance
from .presence import Presence
from .promoter import Promoter
from .relaying import relayed_connections
from .service import Service
from .statistics import Statistics

__all__ = ["redis_connections", "services_of"]


def services_of(options: Options, *, quarantine: bool = False) -> Sequence[type[Service]]:
    """Return the services that run in each process, one of each kind for each connection of its groups."""
    if quarantine:
        return [Heartbeat, Presence, Statistics]
    return [Heartbeat, Presence, Maintenance, Promoter, Listener, Statistics, *([Draining] if options.drain else [])]


def redis_connections(options: Options) -> Mapping[str, int]:
    """Return how many connections the processes of a worker keep open together, by the connection's alias.

    Each consumer has one, and each service. Those that handlers borrow from their process aren't counted. In a cluster
    the listener has one more for each stream, and each service one for each further node, which isn't counted.
    """
    consumers = Counter(stream.connection for stream, _ in options.targets)
    services = len(services_of(options))
    counts = Counter({alias: count + services for alias, count in consumers.items()})
    listened = {(stream.connection, stream.name) for stream, _ in options.targets}
    counts.update(alias for alias, _ in listened if conf.connection(alias).by_cluster)
    counts.update(relayed_connections())
    return {alias: options.processes * count for alias, count in counts.items()}
