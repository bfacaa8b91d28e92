"""What a consumer and a quarantine have in common: they run batches, and settle what came of them.

Why no message is lost:

- what was read is pending on the server under this consumer's name until its outcome is settled there;
- an outcome stays in `unsettled` until the server's answer to it was seen, and is sent again otherwise;
- after a lost connection the consumer first settles again, then looks for messages that the server thinks it holds
  but that it doesn't, and only then reads on;
- at a stop it hands back what it hasn't finished; if it can't, or dies, a rescuer does, or a consumer that finds
  its messages idle for too long claims them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf

from redis.exceptions import ResponseError

from ...connections import Link, OpenLink
from ...exceptions import ServerUnreachable
from ...store.consume.delivery import Delivery
from ...store.consume.groups import Deletion
from ...store.consume.membership import Membership
from ...store.consume.ownership import hand_back, is_held, pending_of
from .. import strays
from ..execution.executor import Executor, Permission, Runs
from ..log.lines import log_deleted, log_vanished
from ..log.unreachable import log_unreachable
from ..shared.counters import ConsumerCounters
from ..shared.joined import Joined
from ..shared.latency import note_latency, note_latency_at_once
from ..stop import Stop
from ..timing import DEFAULT_TIMING, Timing
from .batch_size import BatchSize
from .claiming import Claiming
from .connection import ConsumerConnection
from .in_flight import InFlight
from .observing import tell_observers
from .reader import Reader
from .renewal import renew_all_in_hand
from .settling import Settling
from .unacked import Unacked

__all__ = ["BatchRunner"]


class BatchRunner:
    """Runs what one consumer has in hand, with all the parts that this takes; `run` is told what to iterate.

    Once `stop` is set, it finishes the message that it is running, and ends. It ends, too, when `begin`, which is asked
    before each message, allows no more; when `drained` is set; and when somebody has deleted its group on purpose since
    its worker has `joined` the group. `on_settled` is told how many were settled; `counters` count what it does.

    If it isn't `patient`, it raises what the server refuses, or a lost server, instead of trying again.
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
        timing: Timing = DEFAULT_TIMING,
        patient: bool = True,
    ) -> None:
        self.membership = membership
        self.executor = executor
        self.timing = timing
        self.drained = False
        # Whether it runs nothing any more; and whether it has left without its server, which it couldn't reach.
        self.ended = self.unreached = False
        self.unacked = Unacked()
        self.counters = counters or ConsumerCounters()
        self.in_flight = InFlight(executor, stop, self._may_run, self._ended)
        self.connection = ConsumerConnection(
            membership, self.in_flight.pause, self._resume, counters=self.counters, timing=timing, patient=patient,
            joined=joined or Joined([membership.label]),
        )  # fmt: skip
        self.claiming = Claiming(membership, self.connection, self.counters, self.take)
        self.settling = Settling(membership, self.unacked, self.counters, on_settled, timing=timing, patient=patient)
        self.unsettled = self.settling.unsettled
        self.reader = Reader(membership, self.settling.answered, self.claiming, self.take, self.connection.waking)
        self.batch_size = BatchSize(membership.group.batch_size, seconds=timing.batch)
        self._stop = stop
        self._begin = begin
        self._patient = patient
        self._permission = Permission(self._may_run, self._may_all_run)
        # In seconds: for so long after it was seen to be this consumer's, a message certainly still is.
        self._ownership_ttl = membership.group.claim_idle / 2
        # When to look for unseen pending messages, after the last connect; and when that was last done.
        self._looks: list[float] = []
        self._looked = 0.0

    @property
    def rests(self) -> bool:
        """Whether it is connected and has nothing in hand; for any thread."""
        return self.connection.since is not None and not (self.unacked or self.in_flight.busy)

    @property
    def holds_anything(self) -> bool:
        """Whether it has a message in hand, or an outcome to tell; for any thread."""
        return bool(self.unacked or len(self.unsettled))

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until it is to stop; for when no coroutine is in flight."""
        self._stop.wait(seconds)

    def run(self, iterate: Callable[[OpenLink], None], leave: Callable[[OpenLink], None]) -> None:
        """Iterate until stopped or drained; then settle what is left, and leave.

        Raises `ServerUnreachable` or `ResponseError` if it can't leave so: a rescuer does it then. If nothing is in
        hand or to be settled while the server is away, nothing is raised: a rescuer would have nothing to do.
        """
        with strays.prepared(self._disown):
            self._iterate_until_done(iterate, leave)

    def _iterate_until_done(self, iterate: Callable[[OpenLink], None], leave: Callable[[OpenLink], None]) -> None:
        try:
            while not (self._stop.is_set() or self.drained or self.connection.deleted):
                self.connection.attempt(iterate)
                self.counters.turned(well=self.connection.well)
            self.in_flight.finish()
        except BaseException:
            self.connection.close()  # a reply may be owed on it
            raise
        finally:
            self.ended = True
            self.counters.left(well=self.connection.deleted is not None)
            try:
                self._leave(leave)
            finally:
                self.executor.close()

    def _leave(self, leave: Callable[[OpenLink], None]) -> None:
        """Leave, or forsake a group that was deleted; try again for a moment if the server can't be reached."""
        backoff = self.timing.backoff(least=0.05, most=0.2)
        until = time.monotonic() + self.timing.last_tries
        while True:
            try:
                link = self.connection.link()
                if self.connection.deleted is None:
                    leave(link)
                else:
                    self._forsake(self.connection.deleted)
            except ServerUnreachable as error:
                self.connection.close()
                if not self._patient:
                    raise
                if not self.connection.given_up:
                    log_unreachable(self.membership.stream.connection, error)
                self.unreached = not self.holds_anything or self.connection.given_up or time.monotonic() > until
                if self.unreached and self.holds_anything:
                    raise
                if self.unreached:
                    return
                time.sleep(backoff.more())
            else:
                return

    def _disown(self) -> None:
        """In a forked child: begin no other message, and let what runs get no further than its end."""
        self._stop = Stop()
        self._stop.set()
        self.executor.disown()

    # ------------------------------------------------------------ running and settling

    def handle(self, batch: list[Delivery]) -> None:
        """Run these messages, and settle meanwhile what is due."""
        began = time.monotonic()
        runs = Runs(self.unsettled.collect(began))
        self.counters.runs_batch()
        for _ in self.executor.run(batch, self._permission, runs):
            if self.connection.connected:
                self.connection.attempt(self.settle_ready)
            self.unsettled.collect(time.monotonic())
        if runs.durations:
            self.counters.ran(runs.durations)
            note_latency(
                self.counters.latency, runs.deliveries, time.time() - (time.monotonic() - began), runs.durations
            )
        self.in_flight.advance()
        if batch:
            in_batches, seconds = runs.in_batches, runs.seconds_of_batches
            self.batch_size.ran(len(batch) - in_batches, time.monotonic() - began - seconds, seconds)

    def _ended(self, ended: Sequence[Delivery], durations: Sequence[float]) -> None:
        """Collect the outcomes of coroutines that have ended, and settle those that have waited for long enough."""
        now = self.executor.now = time.monotonic()
        late = self.unsettled.add_all(ended, now)
        if ended:
            self.counters.ran(durations)
            note_latency_at_once(self.counters.latency, ended, durations)
        if late and self.connection.connected:
            self.connection.attempt(self.settle_ready)

    def settle_ready(self, link: OpenLink) -> None:
        """Settle the outcomes that weren't sent yet."""
        # Receive what is owed first: if that raised after the send, these outcomes would count as sent.
        self.reader.free(link)
        self.settling.settle(link, self.unsettled.send())

    def flush(self, link: Link) -> None:
        """Settle outcomes that wait for a handler to end. The heartbeat calls it, from its thread, on its link."""
        self.settling.flush(link)

    def leave(self, link: OpenLink) -> None:
        """Settle what is left, hand back all else, and close the connection."""
        self.reader.free(link)
        self.settling.end(link)
        _, vanished = hand_back(link, self.membership)
        log_vanished(self.membership, vanished)
        self.connection.close()

    def _forsake(self, deleted: Deletion) -> None:
        """Drop all that is in hand, because the group was deleted on purpose.

        Nothing is pending any more, so there is nothing to settle or to hand back.
        """
        self.connection.close()  # a reply may be owed on it
        log_deleted(self.membership, deleted, len(self.unacked))
        self.unacked.clear()
        self.unsettled.forget()

    # ------------------------------------------------------------ ownership

    def _may_run(self, delivery: Delivery) -> bool:
        """Return, right before a message runs, whether it is still this consumer's and one more may begin."""
        if self.executor.now - delivery.since > self._ownership_ttl:
            self._confirm_ownership(delivery)
            self.executor.get_on()
        if self._stop.requested or self.connection.deleted or delivery not in self.unacked:
            return False
        if self._begin is not None and not self._begin():
            self._stop.set()
            return False
        return True

    def _may_all_run(self, deliveries: Sequence[Delivery]) -> bool:
        """Return whether `_may_run` would surely allow each of these, without asking the server."""
        surely = self.executor.now - min([each.since for each in deliveries]) <= self._ownership_ttl
        free = surely and not self._stop.requested and self.connection.deleted is None and self._begin is None
        return free and self.unacked.issuperset(deliveries)

    def _confirm_ownership(self, delivery: Delivery) -> None:
        """Renew until the server answers. If it refuses, which the heartbeat reports, look whose the message is."""
        confirmed = False

        def ask(link: OpenLink) -> None:
            nonlocal confirmed
            self.reader.free(link)
            try:
                self.renew(link)
            except ResponseError:
                if not is_held(link, self.membership, delivery):
                    self.unacked.discard(delivery)
            confirmed = True

        while not (confirmed or self._stop.is_set() or self.connection.deleted):
            self.executor.get_on()
            self.connection.attempt(ask)

    def renew(self, link: Link) -> None:
        """Renew what is in hand, and drop what is lost. The heartbeat calls it too, from its thread, on its link."""
        renew_all_in_hand(link, self.membership, self.unacked)

    def _resume(self, link: OpenLink) -> None:
        """On a new connection: settle again what may not have arrived, and see what is still this consumer's."""
        self.reader.forget()
        # Before the first read: a new worker reads nothing of a paused group.
        self.reader.look(link)
        self.settling.settle(link, self.unsettled.send_everything())
        # If this is refused, the heartbeat reports it, and each message is looked at before it runs.
        with suppress(ResponseError):
            self.renew(link)
        now = time.monotonic()
        # What the server gives until then to a read of the connection before is pending for this consumer, unseen.
        self._looks = [now, now + self.connection.block_before + self.timing.look_again]

    @property
    def looks_due(self) -> bool:
        """Whether to look for unseen pending messages: when connected, and when no older read can be served."""
        return bool(self._looks) and time.monotonic() >= self._looks[0]

    @property
    def due_in(self) -> float:
        """In how many seconds the consumer has something to do, though no message comes; inf if nothing is known of."""
        look = self._looks[0] - time.monotonic() if self._looks else inf
        return max(0.0, min(look, self.unsettled.due_in))

    def unseen(self, link: Link) -> list[Delivery]:
        """Return the messages that `look` finds, or none if it isn't time to look."""
        if not self.looks_due:
            return []
        self._looks.pop(0)
        return self.look(link)

    @property
    def looked_for(self) -> float:
        """How many seconds ago this consumer last looked."""
        return time.monotonic() - self._looked

    def look(self, link: Link) -> list[Delivery]:
        """Take and return the messages that the server thinks this consumer holds, but that it doesn't."""
        self._looked = since = time.monotonic()
        found = pending_of(link, self.membership, self.unacked.tokens.__contains__)
        log_vanished(self.membership, found.vanished)
        return self.take(found.deliveries, since)

    def take(self, deliveries: list[Delivery], since: float) -> list[Delivery]:
        """Take these into hand, as this consumer's since `since`, and return them."""
        self.unacked.take(deliveries, since)
        tell_observers(self.membership, deliveries)
        return deliveries
