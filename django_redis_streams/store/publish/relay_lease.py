"""The lease of the process that relays the outbox of one database to this server."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ...connections import Link
from ...keys import StreamKeys
from ..scripts import Command, exchange, run, script
from .replicas import wait

__all__ = ["LEASE_MS", "Held", "RelayLease"]

# A batch takes less. After a relay was killed, nothing is relayed for as long at most.
LEASE_MS: Final = 10_000


class Held(IntEnum):
    """Whether a holder has the lease: another has it, it has it still, or it has just taken it."""

    BY_ANOTHER = 0
    STILL = 1
    ANEW = 2


@dataclass(frozen=True, slots=True)
class RelayLease:
    """The lease for a database, kept beside the stream with these keys. `holder` is a name of one relay alone."""

    keys: StreamKeys
    database: str
    holder: str

    def hold(self, link: Link) -> Held:
        """Take or renew the lease; return whether the holder has it."""
        return Held(run(link, self._hold()))

    def replicas(self, link: Link, least: int, seconds: float) -> int:
        """Renew the lease, and wait until `least` replicas have that; return how many have, 0 without the lease.

        Replicas get the server's writes in their order, so these have all that it had before.
        """
        held, replicas = exchange(link, [self._hold()], [wait(least, seconds)])
        return replicas if held == Held.STILL and isinstance(replicas, int) else 0

    def let_go(self, link: Link) -> None:
        """Let go of the lease if the holder has it, so that another process takes it at once."""
        run(link, script("let_go_relay")([self.keys.relay(self.database)], self.holder))

    def _hold(self) -> Command:
        return script("hold_relay")([self.keys.relay(self.database), self.keys.main], self.holder, LEASE_MS)
