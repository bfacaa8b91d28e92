"""The loop of a consumer of one group, in one thread, with a connection of its own.

An iteration reads a batch, in the same round trip in which it settles the last, and runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ...connections import OpenLink
from ...exceptions import ServerUnreachable
from ...store.consume.delivery import Delivery
from ...store.consume.drained import Standstill, standstill
from ...store.consume.settle import SettleCommands
from ..execution.coroutines.coroutines import LATEST
from ..log.lines import log_paused
from .batch_runner import BatchRunner

__all__ = ["Consumer"]


class Consumer:
    """Reads, runs and settles until it is told to stop.

    With `when_idle` it works alone, for a caller that waits for its end: it never waits for a message, but calls
    `when_idle` when nothing came, and ends by itself when its group has nothing left to do.
    """

    def __init__(self, runner: BatchRunner, *, when_idle: Callable[[OpenLink], object] | None = None) -> None:
        self.runner = runner
        self._when_idle = when_idle
        self._reader = runner.reader
        self._claiming = runner.claiming
        self._unsettled = runner.unsettled
        self._in_flight = runner.in_flight
        self._standstill: Standstill | None = None
        self._paused = False

    def run(self) -> None:
        """Consume until stopped or done; then settle, hand back and leave. Raises what `BatchRunner.run` does."""
        self.runner.run(self._iterate, self.runner.leave)

    def _iterate(self, link: OpenLink) -> None:
        self.runner.settling.take_flushed()
        self.runner.executor.get_on()
        self._in_flight.advance()
        if self._unsettled.overfull or not self._reader.ahead:
            self._do_chores(link)
        if self._unsettled.overfull:
            self._in_flight.pause(self.runner.timing.unwoken)
        elif self._reader.paused and not self._reader.ahead:
            self._wait_while_paused(link)
        elif not (self._reader.ahead or self._in_flight.fits(1)):
            self._in_flight.wait_for_one()
        elif batch := self._read(link):
            self.runner.handle(batch)
        elif not (self._reader.waited or self._in_flight.busy):
            self._idle(link)

    def _do_chores(self, link: OpenLink) -> None:
        """Do what comes before the next read: settle what was refused, run unseen messages, and claim others'."""
        self._reader.free(link)
        if self._unsettled.retry_due:
            self.runner.settling.settle(link, self._unsettled.send_refused())
        if unseen := self.runner.unseen(link):
            self.runner.handle(unseen)
        if self._may_claim_now:
            self._handle_claimed(link)

    def _read(self, link: OpenLink) -> list[Delivery]:
        """Settle the last batch and return the next; where batches come full and fast, ask for one more."""
        ahead = self._reader.ahead
        if not ahead:
            commands = self._unsettled.send()
            self._reader.ask(link, commands, self._count, self._block_ms(commands))
        # What was read ahead is here, or about to be.
        if self._reader.asked and (self._in_flight.busy or not ahead):
            self._in_flight.wait_for_reply(link, self.runner.timing.block)
        batch = self._reader.take(link)
        self.runner.connection.has_read = True
        self._ask_ahead(link, batch)
        return batch

    @property
    def _needs_attention(self) -> bool:
        held_up = self._unsettled.retry_due or self._unsettled.overfull or self._reader.paused
        claims = self._may_claim_now and not self._claims_ahead
        return self.runner.looks_due or claims or held_up or self.runner.stopping

    @property
    def _may_claim_now(self) -> bool:
        return self._claiming.stale.is_set() and not self._reader.paused and self._in_flight.fits(1) > 0

    @property
    def _claims_ahead(self) -> bool:
        """Whether to claim with the read that is asked for ahead: where no limit bounds what is in hand."""
        bounded = self.runner.membership.group.limited or self.runner.executor.runs_coroutines
        return self._may_claim_now and self._claiming.goes_ahead and not bounded

    def _ask_ahead(self, link: OpenLink, batch: list[Delivery]) -> None:
        """If batches come full and fast, ask for the next before this one runs.

        The answer to what is settled with that comes only after this batch, whose run may end the process. So what is
        to be logged or signalled is settled before.

        If there is something to claim, half of the next batch is claimed; all of it, if the last read brought nothing.
        """
        more = batch and self.runner.batch_size.fast and (self._reader.full or self._claims_ahead)
        if not more or self._needs_attention or self._in_flight.busy:
            return
        count, claim = self.runner.batch_size.count, None
        if self._claims_ahead:
            count = count if self._reader.empty else (count + 1) // 2
            claim = self._claiming.command(count)
        # An error raised here would lose the batch, which is in hand and looked for no more. The link is closed then:
        # the next step that needs it reports that, connects again, and sends the outcomes again.
        with suppress(ServerUnreachable):
            commands = self._unsettled.send()
            if self.runner.settling.tells(commands):
                self.runner.settling.settle(link, commands)
                commands = []
            self._reader.ask(link, commands, count, None, claim)

    def _block_ms(self, commands: SettleCommands) -> int | None:
        """Return for how long a read waits behind these commands, None if it doesn't wait."""
        if self._claiming.stale.is_set() or self._when_idle is not None:
            return None  # there is something to do
        if self._in_flight.begun and self._unsettled.ready:
            return None  # the answer to settling comes first, and hides that the read still waits
        seconds = LATEST if self._in_flight.busy else min(self.runner.connection.block, self.runner.due_in)
        if commands:
            # What the server answers to them is seen now, and what follows from a refusal only after the read.
            seconds = min(seconds, self.runner.timing.unwoken)
        return max(1, round(1_000 * seconds))  # 0 would be for ever

    @property
    def _count(self) -> int:
        """How many to read or claim now; if the group's workers share slots, no more than can run at once."""
        count = self._in_flight.fits(self.runner.batch_size.count)
        shared = self.runner.membership.group.group_concurrency is not None
        return min(count, self.runner.executor.at_once) if shared else count

    def _handle_claimed(self, link: OpenLink) -> None:
        """Claim and run the stale messages that maintenance saw. Messages that may have ended a worker are left out."""
        batch = self._claiming.claim(link, self._count)
        self._ask_ahead(link, batch)
        self.runner.handle(batch)

    def _idle(self, link: OpenLink) -> None:
        """If nothing came, look for unseen pending messages now and then; if it works alone, see whether it is done."""
        alone = self._when_idle is not None
        if self._when_idle is not None:
            self._when_idle(link)
        if alone or self.runner.looked_for > self.runner.timing.look_idle:
            self.runner.handle(self.runner.look(link))
        if wait_ms := self._reader.held_back and self._reader.held_back.wait_ms:
            # A limit leaves no room.
            self._in_flight.pause(min(wait_ms / 1_000, self.runner.timing.unwoken))
        elif alone:
            before, self._standstill = self._standstill, standstill(link, [self.runner.membership])
            self.runner.drained = self._standstill is not None and before == self._standstill

    def _wait_while_paused(self, link: OpenLink) -> None:
        """Wait while the group is paused: settle what is left, read and claim nothing, and ask again soon."""
        self.runner.settle_ready(link)
        if not self._paused:
            self._paused = True
            log_paused(self.runner.membership, paused=True)
        if self._when_idle is not None and not (len(self._unsettled) or self._in_flight.busy):
            self.runner.drained = True
            return
        self._in_flight.pause(self.runner.timing.look_paused)
        self._reader.look(link)
        if not self._reader.paused:
            self._paused = False
            # A deleted group isn't paused any more either.
            self.runner.connection.make_group(link)
            if self.runner.connection.deleted:
                return
            log_paused(self.runner.membership, paused=False)
