"""Handles the server's answers to a consumer's outcomes: what is settled is told, what is refused is kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from ...connections import Link
from ...exceptions import ServerRefused
from ...outcomes import Ack
from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership
from ...store.consume.settle import SettleCommands
from ...store.replies import group_is_gone
from ...store.scripts import exchange
from ..execution.outages import OutageLog
from ..execution.signalling import send_signals
from ..log import about, log_outcome, logger
from ..recurring import refusals
from ..shared.counters import ConsumerCounters
from ..timing import Timing
from .unacked import Unacked
from .unsettled import Unsettled

__all__ = ["Settling"]


class Settling:
    """Settles for one consumer, in its thread; `flush` alone is for the heartbeat's.

    `on_settled` is told how many were settled. If it isn't `patient`, it raises a refusal.
    """

    def __init__(
        self,
        membership: Membership,
        unacked: Unacked,
        counters: ConsumerCounters,
        on_settled: Callable[[int], None],
        *,
        timing: Timing,
        patient: bool,
    ) -> None:
        self.unsettled = Unsettled(membership, timing.backoff(least=0.5, most=30.0))
        self._membership = membership
        self._unacked = unacked
        self._counters = counters
        self._on_settled = on_settled
        self._patient = patient
        self._outages = OutageLog(membership)

    def settle(self, link: Link, commands: SettleCommands) -> None:
        """Settle these, in one round trip, on a link that owes nothing."""
        self.answered(commands, exchange(link, [command for command, _ in commands]))
        self.take_flushed()

    def flush(self, link: Link) -> None:
        """Settle what has waited for too long, while a handler runs; on a link of the heartbeat's.

        It never waits for the consumer, which sees the answers in its next turn.
        """
        self.unsettled.flush(time.monotonic(), lambda commands: exchange(link, commands))

    def take_flushed(self) -> None:
        """Handle the replies that the heartbeat got."""
        for commands, replies in self.unsettled.flushed():
            self.answered(commands, replies)
        self._outages.log_due()
        refusals.log_due()

    def end(self, link: Link) -> None:
        """Settle all that is left, at the end, and log the outages that were collected."""
        self.settle(link, self.unsettled.send_everything())
        self._outages.log_due(now=True)
        refusals.log_due(now=True)

    def answered(self, commands: SettleCommands, replies: Iterable[object]) -> None:
        """Handle the server's replies to commands that settle."""
        refused: dict[str, list[list[Delivery]]] = {}
        for (_, batch), reply in zip(commands, replies, strict=True):
            if isinstance(reply, Exception) and not group_is_gone(reply):
                refused.setdefault(str(reply), []).append(batch)
            else:
                self._done(batch, reply)
        for error, batches in refused.items():
            self._refused(batches, error)

    def _done(self, batch: list[Delivery], reply: object) -> None:
        self.unsettled.settled(batch)
        # 0 or nil: the retry or dead letter isn't this consumer's to make, or was made before. If the group is gone,
        # nothing is pending; made again, it delivers these once more. One reply counts up to 100 acknowledgements.
        outcome = batch[0].outcome
        assert outcome is not None
        acknowledged = isinstance(outcome, Ack)
        done = not isinstance(reply, Exception) and (acknowledged or bool(reply))
        if done:
            self._counters.settled(outcome, int(str(reply)) if acknowledged else 1)
        self._unacked.difference_update(batch)
        if not (done and acknowledged) or logger.isEnabledFor(logging.DEBUG):
            for delivery in batch:
                if not (done and self._outages.takes(delivery, outcome)):
                    log_outcome(self._membership, delivery, done=done)
        if done:
            for delivery in batch:
                if delivery.run is not None:
                    send_signals(delivery)
        self._on_settled(len(batch))

    def _refused(self, batches: list[list[Delivery]], error: str) -> None:
        if not self._patient:  # they stay in flight, and are settled once more when the consumer leaves
            raise ServerRefused(f"{self._membership.label} couldn't settle a message: {error}")
        wait, label = self.unsettled.refuse(batches), self._membership.label

        def log(count: int) -> None:
            logger.error(
                "%s couldn't settle %d messages. They stay pending, and the next try is in %.1f s: %r",
                label, count, wait, error, extra=about(self._membership),
            )  # fmt: skip

        refusals.add(("settle", label), error, sum(map(len, batches)), log)
        refusals.log_due()
