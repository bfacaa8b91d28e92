"""The heart of the worker: one consumer of one group, in one thread, with a connection of its own.

A turn reads a batch, in the same round trip in which it settles the last, and runs it. Why no message is
lost:

- what was read is pending on the server under this consumer's name until its outcome is settled there;
- an outcome stays in the ledger until the server's answer to it was seen, and is sent again otherwise;
- after a lost connection the consumer first settles again, then looks for what the server thinks it holds
  and it doesn't, and only then reads on;
- what it doesn't finish at a stop it hands back; if it can't, or dies, a warden does, or whoever finds its
  messages idle for too long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..connections import Link
from ..outcomes import Ack
from ..store.delivery import Delivery
from ..store.drained import is_drained
from ..store.hold import Found, claim, hand_back, pending_of, renew
from ..store.membership import Membership
from ..store.read import delivered, read_command
from ..store.refusals import group_is_gone
from ..store.scripts import exchange
from ..store.settle import Settled, settle_commands
from .executor import Executor
from .holdings import Holdings
from .ledger import Ledger
from .pace import Pace
from .session import BLOCK_MS, Session
from .tell import about, logger, tell

__all__ = ["Consumer"]

_DRAIN_BLOCK_MS = 100
# By then the server has given up on a blocked read of the connection before.
_LOOK_AGAIN = 1.5 * BLOCK_MS / 1_000


class Consumer:
    """Reads, runs and settles until it is told to stop.

    `stop` ends it after the message that it runs. `stale` is set by maintenance when there is something to
    claim; with `drain`, it ends by itself when its group has nothing left to do. `begin` is asked before
    each message whether one more may be begun; `on_settled` is told how many were.
    """

    def __init__(
        self,
        membership: Membership,
        executor: Executor,
        *,
        stop: threading.Event,
        drain: bool = False,
        begin: Callable[[], bool] = lambda: True,
        on_settled: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.membership = membership
        self.holdings = Holdings()
        self.stale = threading.Event()
        self.session = Session(membership, stop, self._resume)
        self._executor = executor
        self._stop = stop
        self._drain = drain
        self._begin = begin
        self._on_settled = on_settled
        self._ledger = Ledger()
        self._pace = Pace(membership.group.batch_size)
        self._looks: list[float] = []
        self._nothing_left = False
        self._drained = False

    def run(self) -> None:
        """Consume until stopped or drained; then settle, hand back and leave.

        Raises `ServerUnreachable` or `ResponseError` where it can't leave so: a warden does it then.
        """
        try:
            while not (self._stop.is_set() or self._drained):
                self.session.attempt(self._turn)
        finally:
            try:
                self._leave(self.session.link())
            finally:
                self._executor.close()

    def _turn(self, link: Link) -> None:
        if self._ledger.again:
            self._settle(link, list(self._ledger.refused.values()))
        if self._ledger.full:
            self._stop.wait(BLOCK_MS / 1_000)
        elif batch := self._unseen(link) or self._claimed(link) or self._read(link):
            self._nothing_left = False
            self._handle(batch)
        else:
            self._idle(link)

    def _read(self, link: Link) -> list[Delivery]:
        """One round trip: settle the last batch and read the next."""
        since = time.monotonic()
        commands = settle_commands(self.membership, self._ledger.fresh.values())
        block = _DRAIN_BLOCK_MS if self._drain else BLOCK_MS
        link.send([*(command for command, _ in commands), read_command(self.membership, self._pace.count, block)])
        for (_, batch), reply in zip(commands, link.receive(len(commands)), strict=True):
            self._answered(batch, reply)
        (reply,) = link.receive(1)
        if isinstance(reply, Exception):
            raise reply
        self.session.has_read = True
        return self._in_hand(delivered(self.membership, reply), since)

    def _handle(self, batch: list[Delivery]) -> None:
        began, ran = time.monotonic(), 0
        for settled in self._executor.run(batch, self._may_run):
            self._ledger.add(settled)
            ran += 1
            if self._ledger.late and self.session.connected:
                self.session.attempt(lambda link: self._settle(link, list(self._ledger.fresh.values())))
        if ran:
            self._pace.ran(ran, time.monotonic() - began)

    def _may_run(self, delivery: Delivery) -> bool:
        """Asked right before each message: whether it is still ours to run, and one more may be begun."""
        while not self._stop.is_set() and self.holdings.doubtful(self.membership.group.claim_idle / 2):
            self.session.attempt(self.renew)
        return not self._stop.is_set() and delivery.token in self.holdings and self._begin()

    def _idle(self, link: Link) -> None:
        """Nothing came: a moment to look for what an old connection may have been given."""
        self._handle(self._look(link))
        if self._drain and not len(self._ledger):
            # Drained is what was found so and then read once more in vain: see is_drained.
            self._drained, self._nothing_left = self._nothing_left, is_drained(link, self.membership)

    # ------------------------------------------------------------ settling

    def _settle(self, link: Link, settled: list[Settled]) -> None:
        commands = settle_commands(self.membership, settled)
        replies = exchange(link, [command for command, _ in commands])
        for (_, batch), reply in zip(commands, replies, strict=True):
            self._answered(batch, reply)

    def _answered(self, batch: list[Settled], reply: object) -> None:
        if isinstance(reply, Exception) and not group_is_gone(reply):
            self._refused(batch, reply)
            return
        # Where the group is gone nothing is pending; made again, it delivers these once more.
        self._ledger.settled(batch)
        for settled in batch:
            self.holdings.release(settled[0].token)
            # 0 or nil: a retry or dead letter that isn't this consumer's to make, or was made before.
            tell(self.membership, settled, done=bool(reply) or isinstance(settled[1], Ack))
        self._on_settled(len(batch))

    def _refused(self, batch: list[Settled], error: Exception) -> None:
        wait = self._ledger.refuse(batch, error)
        logger.error(
            "%s can't settle %d messages, which stay pending; next try in %.1f s: %r",
            self.membership.place, len(batch), wait, str(error), extra=about(self.membership),
        )  # fmt: skip

    # ------------------------------------------------------------ holding

    @property
    def may_claim(self) -> bool:
        """Whether the connection is old enough to claim from the living.

        Idle time counts through an outage: the first to reconnect would claim from all who didn't yet. A
        connection is never older than the server's own start.
        """
        since = self.session.since
        return since is not None and time.monotonic() - since > self.membership.group.claim_idle / 2

    def renew(self, link: Link) -> None:
        """Renew what is in hand, and drop what is lost. The keeper calls it too, from its thread, on its link."""
        since = time.monotonic()
        for key, ids in self.holdings.ids_by_key().items():
            for lost in renew(link, self.membership, key, ids):
                self.holdings.release(f"{key}/{lost}")
        self.holdings.confirm(since)

    def _resume(self, link: Link) -> None:
        """On a new connection: settle again what may not have arrived, and see what is still ours."""
        self._settle(link, self._ledger.everything())
        self.renew(link)
        now = time.monotonic()
        self._looks = [now, now + _LOOK_AGAIN]

    def _unseen(self, link: Link) -> list[Delivery]:
        """What the server thinks this consumer holds and it doesn't: when connected, and once more a little later."""
        if not self._looks or time.monotonic() < self._looks[0]:
            return []
        self._looks.pop(0)
        return self._look(link)

    def _look(self, link: Link) -> list[Delivery]:
        since = time.monotonic()
        return self._in_hand(self._found(pending_of(link, self.membership, self.holdings.__contains__)), since)

    def _claimed(self, link: Link) -> list[Delivery]:
        """What nobody runs, where maintenance saw some: handed back, and idle for long if we may claim that."""
        if not self.stale.is_set():
            return []
        self.stale.clear()
        since = time.monotonic()
        found = claim(link, self.membership, self._pace.count, returned_only=not self.may_claim)
        return self._in_hand(self._found(found), since)

    def _in_hand(self, deliveries: list[Delivery], since: float) -> list[Delivery]:
        if not len(self.holdings):
            self.holdings.confirm(since)
        self.holdings.take(deliveries)
        return deliveries

    def _found(self, found: Found) -> list[Delivery]:
        for token in found.vanished:
            logger.error(
                "%s: the entry %r was deleted while it was pending; it can't be handled any more.",
                self.membership.place, token, extra=about(self.membership),
            )  # fmt: skip
        return found.deliveries

    def _leave(self, link: Link) -> None:
        self._settle(link, self._ledger.everything())
        hand_back(link, self.membership)
        self.session.close()
