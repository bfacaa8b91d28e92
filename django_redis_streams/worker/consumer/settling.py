"""Handles the server's answers to a consumer's outcomes: what is settled is told, what is refused is kept.

What the heartbeat has settled while a handler runs on is told by a thread of its own, at once: the handler may never
return, and end its process. A receiver that hangs there holds up neither the heartbeat nor the consumer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from ... import signals
from ...connections import Link
from ...exceptions import ServerRefused
from ...outcomes import Ack
from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership
from ...store.consume.settle import SettleCommands
from ...store.replies import group_is_gone
from ...store.scripts import exchange
from ..execution.databases import Databases
from ..execution.outages import OutageLog
from ..execution.signalling import send_signals
from ..log.lines import about, log_outcome, logger
from ..log.recurring import refusals
from ..shared.counters import ConsumerCounters
from ..timing import Timing
from .unacked import Unacked
from .unsettled import Unsettled

__all__ = ["Settling"]


class Settling:
    """Settles for one consumer, in its thread; `flush` is for the heartbeat's.

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
        # Settled, and receivers of signals weren't told yet.
        self._untold: deque[Delivery] = deque()
        self._teller: threading.Thread | None = None
        # Held while a teller is started: the consumer's end waits for each that was.
        self._starting = threading.Lock()

    @staticmethod
    def tells(commands: SettleCommands) -> bool:
        """Return whether something is to be logged or signalled once these commands are carried out."""
        if not commands:
            return False
        # All that one command settles has an outcome of one kind.
        failed = any(not isinstance(batch[0].outcome, Ack) for _, batch in commands)
        return failed or signals.has_receivers(signals.message_processed)

    def settle(self, link: Link, commands: SettleCommands) -> None:
        """Settle these, in one round trip, on a link that owes nothing."""
        self.answered(commands, exchange(link, [command for command, _ in commands]))
        self.take_flushed()

    def flush(self, link: Link) -> None:
        """Settle what has waited for too long, while a handler runs; on a link of the heartbeat's.

        It never waits for the consumer, nor for what the answers bring about: another thread handles them, unless the
        consumer's next turn comes first.
        """
        self.unsettled.flush(time.monotonic(), lambda commands: exchange(link, commands))
        with self._starting:
            if self.unsettled.any_flushed and (self._teller is None or not self._teller.is_alive()):
                self._teller = threading.Thread(target=self._tell_flushed, daemon=True, name=self._membership.consumer)
                self._teller.start()

    def take_flushed(self) -> None:
        """Handle the replies that the heartbeat got."""
        settled = 0
        with self.unsettled.booking:
            for commands, replies in self.unsettled.flushed():
                settled += self._book(commands, replies)
            self._outages.log_due()
        self._tell(settled)
        refusals.log_due()

    def end(self, link: Link) -> None:
        """Settle all that is left, at the end, log the outages that were collected, and have told what was settled."""
        self.settle(link, self.unsettled.send_everything())
        with self.unsettled.booking:
            self._outages.log_due(now=True)
        refusals.log_due(now=True)
        with self._starting:
            teller = self._teller
        if teller is not None:
            teller.join()

    def answered(self, commands: SettleCommands, replies: Iterable[object]) -> None:
        """Handle the server's replies to commands that settle."""
        with self.unsettled.booking:
            settled = self._book(commands, replies)
        self._tell(settled)

    def _tell_flushed(self) -> None:
        databases = Databases()
        databases.watch()
        try:
            self.take_flushed()
        except Exception:  # noqa: BLE001  logged: nobody waits for this thread's end, to hear of it
            logger.exception(
                "%s couldn't tell what became of its messages", self._membership.label, extra=about(self._membership)
            )
        finally:
            databases.close()

    def _tell(self, settled: int) -> None:
        """Send the signals that are due, then tell how many were settled; two threads may do so at once."""
        with suppress(IndexError):  # the other thread has taken the last one
            while self._untold:
                send_signals(self._untold.popleft())
        if settled:
            with self.unsettled.booking:
                self._on_settled(settled)

    def _book(self, commands: SettleCommands, replies: Iterable[object]) -> int:
        """Log and count what was settled, keep what receivers are to be told, and return how many were settled."""
        settled = 0
        refused: dict[str, list[list[Delivery]]] = {}
        for (_, batch), reply in zip(commands, replies, strict=True):
            if isinstance(reply, Exception) and not group_is_gone(reply):
                refused.setdefault(str(reply), []).append(batch)
            else:
                self._done(batch, reply)
                settled += len(batch)
        for error, batches in refused.items():
            self._refused(batches, error)
        return settled

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
            self._untold.extend([each for each in batch if each.run is not None])

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
