"""The heartbeat: renews what this process' consumers hold, and settles what waits, while their handlers run.

It also finds out that a server is silent: a consumer that waits for messages learns nothing of that itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from math import inf

from ... import conf
from ...connections import OpenLink
from ...connections.refusals import PartUnreachable
from ...exceptions import ServerUnreachable
from ..consumer.batch_runner import BatchRunner
from ..consumer.unacked import Taken
from ..timing import Timing
from .service import Service

__all__ = ["Heartbeat"]


class Heartbeat(Service):
    """For the consumers of one connection: flushes each 50 ms, and renews each third of the shortest CLAIM_IDLE.

    It never waits for a consumer: it looks at what each holds, and asks the server. While no consumer has anything in
    hand, and of hundreds of them none mostly has, it looks at none: it sleeps until one takes something.
    """

    jitter = 0.0

    def __init__(self, alias: str, stop: threading.Event, consumers: Sequence[BatchRunner], timing: Timing) -> None:
        shortest = min(each.membership.group.claim_idle for each in consumers)
        super().__init__(alias, stop, timing, longest_wait=min(5.0, shortest / 6))
        self._consumers = consumers
        self._taken = Taken(self.wake)
        self._rests = False
        for each in consumers:
            each.unacked.taken = self._taken
        # Two beats may be missed before anything is claimed.
        self._beat = shortest / 3
        self._beat_at = 0.0
        self._by_cluster = conf.connection(alias).by_cluster
        # When the nodes of a cluster were asked last, on the monotonic clock.
        self._asked = 0.0

    @property
    def interval(self) -> float:
        """In seconds: while nothing is in hand, until the server counts as quiet."""
        return min(self._timing.flush, self._beat) if self._taken.anything else max(0.0, self._quiet_in)

    def guarded_step(self) -> float:
        """Do the step if there is anything to do, and return how many seconds to wait for the next."""
        # What was taken just now has no outcome that has waited yet.
        rested, self._rests = self._rests, not self._taken.anything
        if self._quiet_in > 0 and (self._rests or rested):
            return self.interval
        return super().guarded_step()

    def step(self, link: OpenLink) -> None:
        """Ask a server that was quiet whether it answers; flush, and renew where it is time to."""
        now = time.monotonic()
        if self._quiet_in <= 0:
            self._ask(link, now)
        holders, away = self._holders(), None
        try:
            self.each(holders, lambda consumer: consumer.flush(link))
        except PartUnreachable as error:  # of a node of a cluster: what is on others is to be renewed
            away = error
        if now >= self._beat_at:
            try:
                self.each(holders, lambda consumer: consumer.renew(link))
            except PartUnreachable as error:  # as above: it isn't done anew for these each time
                away = error
            self._beat_at = now + self._beat
        if away is not None:
            raise away

    def _ask(self, link: OpenLink, began: float) -> None:
        """Ask whether the server answers, or each node of a cluster that has these streams; raise the first error."""
        self._asked = began
        keys = {each.membership.stream.keys.main for each in self._consumers} if self._by_cluster else ()
        errors = link.silent_nodes(self._timing.answer, keys)
        for error in errors[1:]:
            self._cut(error, began)
        if errors:
            raise errors[0]
        self.answered[self.alias] = began

    def note_holders(self) -> None:
        """Write on the slots what keeps event loops from turning, if anything does; for the main thread."""
        if self._taken.anything:
            for each in self._consumers:
                each.executor.coroutines.note_holder()

    @property
    def _quiet_in(self) -> float:
        """In how many seconds the server counts as quiet, unless it answers something meanwhile; it does from 0 on."""
        # Where nothing is in hand, what the services say every few seconds will mostly do.
        most = self._timing.quiet if self._taken.anything else self._timing.quiet_idle
        # Of a cluster, one node's answer tells nothing of the others.
        last = self._asked if self._by_cluster else self.answered.get(self.alias, 0.0)
        return last + most - time.monotonic()

    def _holders(self) -> Sequence[BatchRunner]:
        """Return the consumers that hold a message or an outcome that wasn't sent."""
        if not self._taken.anything:
            return ()
        # Before the look: what is taken meanwhile is seen by this one or the next.
        self._taken.anything = False
        found = [each for each in self._consumers if each.unacked or each.unsettled.ready]
        self._taken.anything = self._taken.anything or bool(found)
        return found

    def _step(self) -> None:
        """Do the step; if the server is silent, have each consumer that waits for a reply find it lost, too."""
        began = time.monotonic()
        try:
            super()._step()
        except ServerUnreachable as error:
            self._cut(error, began)
            raise

    def _cut(self, error: ServerUnreachable, began: float) -> None:
        """Cut the connections to a server, or to the node of a cluster, that was silent since `began`."""
        if error.was_silent:
            for connection in [each.connection for each in self._consumers]:
                if (connection.waits_since or inf) < began and connection.node == error.node:
                    connection.cut()
