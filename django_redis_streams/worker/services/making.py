"""What each service of a process is made of."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..consumer.batch_runner import BatchRunner
from ..options import Options
from ..shared.scoreboard import Scoreboard
from ..stop import Stop
from .draining import Drain, Draining
from .ears import listening
from .heartbeat import Heartbeat
from .kinds import services_of
from .listener import Listener
from .maintenance import Maintenance
from .presence import Presence
from .promoter import Promoter
from .relaying import relays
from .service import Service
from .statistics import Statistics

if TYPE_CHECKING:
    from .relay import OutboxRelay

__all__ = ["Making", "by_connection"]


def by_connection(runners: Sequence[BatchRunner]) -> Iterator[tuple[str, list[BatchRunner]]]:
    """Yield the alias of each connection, and its consumers."""
    for alias, group in itertools.groupby(sorted(runners, key=_connection), key=_connection):
        yield alias, list(group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """Makes the services of a process, for its `runners`. They run until `services_stop`, behind `stop`."""

    options: Options
    process: str
    quarantine: bool
    scoreboard: Scoreboard
    runners: Sequence[BatchRunner]
    stop: Stop
    services_stop: threading.Event

    def services(self) -> Iterator[Service]:
        """Yield each service."""
        kinds = services_of(self.options, quarantine=self.quarantine)
        drain = Drain({_connection(each) for each in self.runners}, self.stop.set)
        relaying = [] if self.quarantine else relays(self.services_stop, self.options.timing)
        for alias, runners in by_connection(self.runners):
            make = self._makers(alias, runners, drain, [each for each in relaying if each.alias == alias])
            yield from (make[kind]() for kind in kinds)
        yield from relaying

    def _makers(
        self, alias: str, runners: Sequence[BatchRunner], drain: Drain, relaying: Sequence[OutboxRelay]
    ) -> Mapping[type[Service], Callable[[], Service]]:
        """Return for each kind of service what makes the one of this connection."""
        timing, stop = self.options.timing, self.services_stop
        streams = list({each.membership.stream.name: each.membership.stream for each in runners}.values())
        # What comes due after the end of a drain waits for the next worker, where it is counted.
        until = self.stop if self.options.drain else stop
        promoter = Promoter(alias, until, streams, timing)
        maintenance = Maintenance(alias, stop, runners, streams, timing, scoreboard=self.scoreboard)
        return {
            Heartbeat: lambda: Heartbeat(alias, stop, runners, timing),
            Presence: lambda: Presence(alias, stop, runners, timing, process=self.process, quarantine=self.quarantine),
            Maintenance: lambda: maintenance,
            Promoter: lambda: promoter,
            Listener: lambda: listening(alias)(
                alias, stop, runners, streams, timing, hear_due=promoter.hear, hear_claimable=maintenance.hear
            ),
            Statistics: lambda: Statistics(alias, stop, runners, timing),
            Draining: lambda: Draining(alias, self.stop, self.runners, drain, timing, relays=relaying),
        }


def _connection(runner: BatchRunner) -> str:
    return runner.membership.stream.connection
