"""What a consumer takes over from others: what they handed back, and what has been idle in their hands for too long.

Maintenance says when there is something to claim. It is claimed then by itself, or with a read that is asked for ahead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from ...connections import Link
from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership
from ...store.consume.ownership import Found, bodies_commands, claim, claim_command, claimed
from ...store.scripts import Command
from ..log.lines import log_vanished
from ..shared.counters import ConsumerCounters
from ..system.clock import ServerClock
from .connection import ConsumerConnection

__all__ = ["Claiming"]

# How long a reply may take.
_LEAST_MS = 250


class Claiming:
    """Claims for one consumer; `take` is called with what was claimed, and since when it is certainly this consumer's.

    Maintenance sets `stale` when there is something to claim, and looks at the server's `clock`.
    """

    def __init__(
        self,
        membership: Membership,
        connection: ConsumerConnection,
        counters: ConsumerCounters,
        take: Callable[[list[Delivery], float], list[Delivery]],
    ) -> None:
        self.stale = threading.Event()
        self.clock = ServerClock()
        self._membership = membership
        self._connection = connection
        self._counters = counters
        self._take = take
        self._asked = 0
        self._refused = False

    @property
    def claims_in(self) -> float:
        """In how many seconds the connection is old enough to claim from the living: 0 if it is, inf if there is none.

        Idle time counts through an outage: the first consumer to reconnect would claim from all that haven't yet. A
        connection is never older than the server's own start.
        """
        since = self._connection.since
        return inf if since is None else max(0.0, since + self._membership.group.claim_idle / 2 - time.monotonic())

    @property
    def may_claim(self) -> bool:
        """Whether the connection is old enough."""
        return not self.claims_in

    @property
    def _idle_until(self) -> int:
        """Until when, by the server's clock in ms, idle messages may be claimed; 0 if they may not.

        A clock that jumps ahead makes all seem idle for as much longer. If it did so after maintenance looked, the
        server finds that its clock is past this time. A jump by a quarter of CLAIM_IDLE robs nobody: each consumer
        renews what it holds in every third of CLAIM_IDLE.
        """
        latest = self.clock.at_the_latest() if self.may_claim else None
        return 0 if latest is None else latest + max(_LEAST_MS, self._membership.claim_idle_ms // 4)

    @property
    def goes_ahead(self) -> bool:
        """Whether a claim may go out with a read: a refused one is tried again by itself, which reports the error."""
        return not self._refused

    def claim(self, link: Link, count: int) -> list[Delivery]:
        """Claim messages that were handed back and, if this consumer may, messages that have been idle for long.

        Where there is more to claim, `stale` stays set.
        """
        self.stale.clear()
        since = time.monotonic()
        found = claim(link, self._membership, count, idle_until=self._idle_until)
        self._refused = False
        self._counted(len(found.deliveries) + len(found.vanished), count)
        return self._found(found, since)

    def command(self, count: int) -> Command:
        """Return the command that claims the same messages when it is sent with a read.

        Its reply is for `bodies`, then for `answered`.
        """
        self.stale.clear()
        self._asked = count
        return claim_command(self._membership, count, idle_until=self._idle_until)

    def bodies(self, reply: Any) -> list[Command]:
        """Return the commands that read the entries which a reply to `command` names.

        Those entries are claimed, so another claim may follow.
        """
        if isinstance(reply, Exception):
            self._refused = True
            self.stale.set()
            return []
        self._counted(sum([len(ids) + len(vanished) for ids, vanished in reply]), self._asked)
        return bodies_commands(self._membership, reply)

    def answered(self, link: Link, reply: object, bodies: Sequence[object], since: float) -> list[Delivery]:
        """Take and return what `command` claimed, from the replies to `bodies`, on a link that owes nothing."""
        if isinstance(reply, Exception):
            return []
        return self._found(claimed(link, self._membership, reply, bodies), since)

    def _counted(self, found: int, count: int) -> None:
        """Set `stale` if as many were found as were asked for: there may be more."""
        if found >= count:
            self.stale.set()

    def _found(self, found: Found, since: float) -> list[Delivery]:
        log_vanished(self._membership, found.vanished)
        self._counters.claimed(len(found.deliveries))
        return self._take(found.deliveries, since)
