"""The heart of the worker: one consumer of one group, in one thread, with a connection of its own.

A turn reads a batch, in the same round trip in which it settles the last, and runs it. Why no message is
lost:

- what was read is pending on the server under this consumer's name until its outcome is settled there;
- an outcome stays in `unsettled` until the server's answer to it was seen, and is sent again otherwise;
- after a lost connection the consumer first settles again, then looks for what the server thinks it holds
  and it doesn't, and only then reads on;
- what it doesn't finish at a stop it hands back; if it can't, or dies, a rescuer does, or whoever finds its
  messages idle for too long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from redis.exceptions import ResponseError

from ...connections import Link
from ...exceptions import ServerUnreachable
from ...store.consume.delivery import Delivery
from ...store.consume.drained import Standstill, standstill
from ...store.consume.groups import Deletion
from ...store.consume.membership import Membership
from ...store.consume.ownership import hand_back, is_held, pending_of
from .. import strays
from ..execution.coroutines import LATEST
from ..execution.executor import Executor, Permission, Runs
from ..log import log_deleted, log_paused, log_vanished
from ..shared.counters import ConsumerCounters
from ..shared.joined import Joined
from ..shared.latency import note_latency, note_latency_at_once
from ..stop import Stop
from ..timing import DEFAULT_TIMING, Timing
from .batch_size import BatchSize
from .claiming import Claiming
from .connection import ConsumerConnection
from .in_flight import InFlight
from .reader import Reader
from .renewal import renew_all_in_hand
from .settling import Settling
from .unacked import Unacked

__all__ = ["Consumer"]


class Consumer:
    """Reads, runs and settles until it is told to stop.

    `stop` ends it after the message that it runs. `begin` is asked before each message whether one more may be begun,
    which ends it too; `on_settled` is told how many were settled. What it does is counted in `counters`. It ends, too,
    when somebody has deleted its group on purpose since its worker has `joined` that.

    With `when_idle` it works alone, for whoever waits for its end: it never waits for a message, but calls that when
    nothing came, and ends by itself when its group has nothing left to do; and what the server refuses, or a lost
    server, is raised instead of tried again.
    """

    def __init__(
        self,
        membership: Membership,
        executor: Executor,
        *,
        stop: Stop,
        begin: Callable[[], bool] | None = None,
        on_settled: Callable[[int], None] = lambda _: None,
        counters: ConsumerCounters | None = None,
        joined: Joined | None = None,
        when_idle: Callable[[Link], object] | None = None,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self.timing = timing
        self.membership = membership
        self.unacked = Unacked()
        self.counters = counters or ConsumerCounters()
        self._permission = Permission(self._may_run, self._may_all_run)
        self._in_flight = InFlight(executor, stop, self._may_run, self._ended)
        patient = when_idle is None
        joined = joined or Joined([membership.label])
        self.connection = ConsumerConnection(
            membership, self._in_flight.pause, self._resume, joined=joined, timing=timing, patient=patient
        )
        self.claiming = Claiming(membership, self.connection, self.counters, self._in_hand)
        self._executor = executor
        self._stop = stop
        self._begin = begin
        self._when_idle = when_idle
        self._settling = Settling(membership, self.unacked, self.counters, on_settled, timing=timing, patient=patient)
        self._unsettled = self._settling.unsettled
        self._reader = Reader(membership, self._settling.answered, self.claiming, self._in_hand)
        self._batch_size = BatchSize(membership.group.batch_size, seconds=timing.batch)
        # For how long after it was seen so a message is certainly this consumer's.
        self._ownership_ttl = membership.group.claim_idle / 2
        self._looks: list[float] = []
        self._looked = 0.0
        self._standstill: Standstill | None = None
        self._drained = False
        self._paused = False

    @property
    def rests(self) -> bool:
        """Whether it is connected and has nothing in hand; for any thread."""
        return self.connection.since is not None and not (self.unacked or self._in_flight.busy)

    def run(self) -> None:
        """Consume until stopped or done; then settle, hand back and leave.

        Raises `ServerUnreachable` or `ResponseError` where it can't leave so: a rescuer does it then.
        """
        with strays.prepared(self._disown):
            self._consume()

    def _consume(self) -> None:
        try:
            while not (self._stop.is_set() or self._drained or self.connection.deleted):
                self.connection.attempt(self._iterate)
                self.counters.turned(well=self.connection.well)
            self._in_flight.finish()
        except BaseException:
            self.connection.close()  # a reply may be owed on it
            raise
        finally:
            self.counters.left(well=self.connection.deleted is not None)
            try:
                self._leave(self.connection.link())
            finally:
                self._executor.close()

    def _disown(self) -> None:
        """In a forked child: begin no other message, and let what runs get no further than its end."""
        self._stop = Stop()
        self._stop.set()
        self._executor.disown()

    def _iterate(self, link: Link) -> None:
        self._settling.take_flushed()
        self._executor.get_on()
        self._in_flight.advance()
        if self._unsettled.overfull or not self._reader.ahead:
            self._do_chores(link)
        if self._unsettled.overfull:
            self._in_flight.pause(self.timing.block)
        elif self._reader.paused and not self._reader.ahead:
            self._wait_while_paused(link)
        elif not (self._reader.ahead or self._in_flight.fits(1)):
            self._in_flight.wait_for_one()
        elif batch := self._read(link):
            self._handle(batch)
        elif not (self._reader.waited or self._in_flight.busy):
            self._idle(link)

    def _do_chores(self, link: Link) -> None:
        """What comes before reading on: what was refused, what is pending unseen, what others left."""
        self._reader.free(link)
        if self._unsettled.retry_due:
            self._settling.settle(link, self._unsettled.send_refused())
        if unseen := self._unseen(link):
            self._handle(unseen)
        if self._may_claim_now:
            self._handle_claimed(link)

    def _read(self, link: Link) -> list[Delivery]:
        """The next batch, for which the last was settled; and where batches come full and fast, ask for one more."""
        ahead = self._reader.ahead
        if not ahead:
            self._reader.ask(link, self._unsettled.send(), self._count, self._block_ms)
        # What was read ahead is here, or about to be.
        if self._reader.asked and (self._in_flight.busy or not ahead):
            self._in_flight.wait_for_reply(link, self.timing.block)
        batch = self._reader.take(link)
        self.connection.has_read = True
        self._ask_ahead(link, batch)
        return batch

    @property
    def _needs_attention(self) -> bool:
        looks = bool(self._looks) and time.monotonic() >= self._looks[0]
        held_up = self._unsettled.retry_due or self._unsettled.overfull or self._reader.paused
        claims = self._may_claim_now and not self._claims_ahead
        return looks or claims or held_up or self._stop.is_set()

    @property
    def _may_claim_now(self) -> bool:
        return self.claiming.stale.is_set() and not self._reader.paused and self._in_flight.fits(1) > 0

    @property
    def _claims_ahead(self) -> bool:
        """Whether to claim with the read that is asked for ahead: where no limit bounds what is in hand."""
        bounded = self.membership.group.limited or self._executor.runs_coroutines
        return self._may_claim_now and self.claiming.goes_ahead and not bounded

    def _ask_ahead(self, link: Link, batch: list[Delivery]) -> None:
        """Where batches come full and fast, ask for the next before this is run: half of it claimed, where there is.

        All of it, where nothing else waits.
        """
        more = batch and self._batch_size.fast and (self._reader.full or self._claims_ahead)
        if not more or self._needs_attention or self._in_flight.busy:
            return
        count, claim = self._batch_size.count, None
        if self._claims_ahead:
            count = count if self._reader.empty else (count + 1) // 2
            claim = self.claiming.command(count)
        # Raised here, it would forget the batch, which is in hand and looked for no more. The link is closed: the
        # next who needs it reports that, connects again, and sends the outcomes again.
        with suppress(ServerUnreachable):
            self._reader.ask(link, self._unsettled.send(), count, None, claim)

    @property
    def _block_ms(self) -> int | None:
        if self.claiming.stale.is_set() or self._when_idle is not None:
            return None  # there is something to do
        if self._in_flight.begun and self._unsettled.ready:
            return None  # settling is answered before the read, and hides how long that one waits
        return round(1_000 * (LATEST if self._in_flight.busy else self.timing.block))

    @property
    def _count(self) -> int:
        """How many to read or claim now. Where the group's workers share slots, no more than can be run at once."""
        count = self._in_flight.fits(self._batch_size.count)
        return count if self.membership.group.group_concurrency is None else min(count, self._executor.at_once)

    def _handle(self, batch: list[Delivery]) -> None:
        began = time.monotonic()
        runs = Runs(self._unsettled.ready)
        self._unsettled.begin(began)
        self.counters.runs_batch()
        for _ in self._executor.run(batch, self._permission, runs):
            if self.connection.connected:
                self.connection.attempt(self._settle_ready)
            self._unsettled.begin(time.monotonic())
        if runs.durations:
            self.counters.ran(runs.durations)
            note_latency(
                self.counters.latency, runs.deliveries, time.time() - (time.monotonic() - began), runs.durations
            )
        self._in_flight.advance()
        if batch:
            in_batches, seconds = runs.in_batches, runs.seconds_of_batches
            self._batch_size.ran(len(batch) - in_batches, time.monotonic() - began - seconds, seconds)

    def _ended(self, ended: Sequence[Delivery], durations: Sequence[float]) -> None:
        """What coroutines have come to."""
        now = self._executor.now = time.monotonic()
        late = self._unsettled.add_all(ended, now)
        if ended:
            self.counters.ran(durations)
            note_latency_at_once(self.counters.latency, ended, durations)
        if late and self.connection.connected:
            self.connection.attempt(self._settle_ready)

    def _handle_claimed(self, link: Link) -> None:
        """Claim and run what nobody runs, where maintenance saw some. What may have ended a worker is left out."""
        batch = self.claiming.claim(link, self._count)
        self._ask_ahead(link, batch)
        self._handle(batch)

    def _may_run(self, delivery: Delivery) -> bool:
        """Asked right before each message: whether it is still ours to run, and one more may be begun."""
        if self._executor.now - delivery.since > self._ownership_ttl:
            self._confirm_ownership(delivery)
            self._executor.get_on()
        if self._stop.requested or self.connection.deleted or delivery not in self.unacked:
            return False
        if self._begin is not None and not self._begin():
            self._stop.set()
            return False
        return True

    def _may_all_run(self, deliveries: Sequence[Delivery]) -> bool:
        """Whether `_may_run` would say so of each of these, whatever the server says."""
        surely = self._executor.now - min([each.since for each in deliveries]) <= self._ownership_ttl
        free = surely and not self._stop.requested and self.connection.deleted is None and self._begin is None
        return free and self.unacked.issuperset(deliveries)

    def _confirm_ownership(self, delivery: Delivery) -> None:
        """Ask until the server answers; where it refuses to renew, which the heartbeat reports, look whose it is."""
        confirmed = False

        def ask(link: Link) -> None:
            nonlocal confirmed
            self._reader.free(link)
            try:
                self.renew(link)
            except ResponseError:
                if not is_held(link, self.membership, delivery):
                    self.unacked.discard(delivery)
            confirmed = True

        while not (confirmed or self._stop.is_set() or self.connection.deleted):
            self._executor.get_on()
            self.connection.attempt(ask)

    def _idle(self, link: Link) -> None:
        """Nothing came: now and then a moment to look for what is pending unseen, and of who works alone the end."""
        alone = self._when_idle is not None
        if self._when_idle is not None:
            self._when_idle(link)
        if alone or time.monotonic() - self._looked > self.timing.look_idle:
            self._handle(self._look(link))
        if wait_ms := self._reader.held_back and self._reader.held_back.wait_ms:
            # A limit leaves no room.
            self._in_flight.pause(min(wait_ms / 1_000, self.timing.block))
        elif alone:
            before, self._standstill = self._standstill, standstill(link, [self.membership])
            self._drained = self._standstill is not None and before == self._standstill

    def _wait_while_paused(self, link: Link) -> None:
        """The group is paused: settle what is left, read and claim nothing, and ask again soon."""
        self._settle_ready(link)
        if not self._paused:
            self._paused = True
            log_paused(self.membership, paused=True)
        if self._when_idle is not None and not (len(self._unsettled) or self._in_flight.busy):
            self._drained = True
            return
        self._in_flight.pause(self.timing.look_paused)
        self._reader.look(link)
        if not self._reader.paused:
            self._paused = False
            # What is deleted isn't paused any more either.
            self.connection.make_group(link)
            if self.connection.deleted:
                return
            log_paused(self.membership, paused=False)

    def _settle_ready(self, link: Link) -> None:
        # First, or its error would leave these on a way that they were never sent.
        self._reader.free(link)
        self._settling.settle(link, self._unsettled.send())

    def note_holder(self) -> None:
        """For the main thread: where the event loop doesn't turn, say on the slots what keeps it from that."""
        self._executor.coroutines.note_holder()

    def flush(self, link: Link) -> None:
        """Settle what waits for a handler to end. The heartbeat calls it, from its thread, on its link."""
        self._settling.flush(link)

    # ------------------------------------------------------------ ownership

    def renew(self, link: Link) -> None:
        """Renew what is in hand, and drop what is lost. The heartbeat calls it too, from its thread, on its link."""
        renew_all_in_hand(link, self.membership, self.unacked)

    def _resume(self, link: Link) -> None:
        """On a new connection: settle again what may not have arrived, and see what is still ours."""
        self._reader.forget()
        # Before the first read: a new worker reads nothing of a paused group.
        self._reader.look(link)
        self._settling.settle(link, self._unsettled.send_everything())
        # Refused, it is reported by the heartbeat, and each message is looked at before it is run.
        with suppress(ResponseError):
            self.renew(link)
        now = time.monotonic()
        self._looks = [now, now + self.timing.look_again]

    def _unseen(self, link: Link) -> list[Delivery]:
        """What the server thinks this consumer holds and it doesn't: when connected, and once more a little later."""
        if not self._looks or time.monotonic() < self._looks[0]:
            return []
        self._looks.pop(0)
        return self._look(link)

    def _look(self, link: Link) -> list[Delivery]:
        self._looked = since = time.monotonic()
        found = pending_of(link, self.membership, self.unacked.tokens.__contains__)
        log_vanished(self.membership, found.vanished)
        return self._in_hand(found.deliveries, since)

    def _in_hand(self, deliveries: list[Delivery], since: float) -> list[Delivery]:
        self.unacked.take(deliveries, since)
        return deliveries

    def _leave(self, link: Link) -> None:
        if self.connection.deleted is not None:
            self._forsake(self.connection.deleted)
            return
        self._reader.free(link)
        self._settling.end(link)
        _, vanished = hand_back(link, self.membership)
        log_vanished(self.membership, vanished)
        self.connection.close()

    def _forsake(self, deleted: Deletion) -> None:
        """The group is gone on purpose: nothing is pending any more, so there is nothing to settle or to hand back."""
        self.connection.close()  # a reply may be owed on it
        log_deleted(self.membership, deleted, len(self.unacked))
        self.unacked.clear()
        self._unsettled.forget()
