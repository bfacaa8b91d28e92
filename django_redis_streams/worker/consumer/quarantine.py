"""Quarantine: the suspects of a group, run one at a time, with nothing beside them in their process.

Each run is written down on the server before it begins. So the next quarantine, on whatever host, knows of it
however the run ended its process, or its host. After MAX_CRASHES runs that were begun and never ended, the message
is dead-lettered unrun.
"""

from __future__ import annotations

import time

from ... import signals
from ...connections import OpenLink
from ...outcomes import DeadLetter, Failure, Reason
from ...store.consume.delivery import Delivery
from ...store.consume.ownership import pending_of
from ...store.consume.suspects import Crashed, suspects, take_back, try_suspect
from ...wire import Undecodable, decode_entry
from ..execution.signalling import Run, undecoded
from ..log.lines import log_vanished
from .batch_runner import BatchRunner

__all__ = ["Quarantine"]


class Quarantine:
    """Takes nothing but suspects, in the stead of a consumer, and ends when there is none that it may take."""

    def __init__(self, runner: BatchRunner) -> None:
        self.runner = runner
        self._membership = runner.membership
        # Suspects that are yet to be tried, the next one last; None where they weren't asked for yet.
        self._tokens: list[str] | None = None
        # Whether any of them could be taken.
        self._found = False

    def run(self) -> None:
        """Run suspects until stopped or done; then settle, hand back and leave. Raises what `BatchRunner.run` does."""
        self.runner.run(self._iterate, self._leave)

    def _iterate(self, link: OpenLink) -> None:
        """Run one suspect and settle it, before the next is looked for."""
        self.runner.executor.get_on()
        self.runner.settling.take_flushed()
        self.runner.settling.settle(link, self.runner.unsettled.send_everything())
        if len(self.runner.unsettled):  # refused, and reported: nothing more begins meanwhile
            self.runner.wait(self.runner.timing.unwoken)
            return
        self.runner.reader.look(link)
        if self.runner.reader.paused:
            self.runner.drained = True
            return
        if self._tokens is None:
            self._tokens, self._found = suspects(link, self._membership), False
        if self._tokens:
            self._try(link, self._tokens)
        elif self._found:
            self._tokens = None  # meanwhile there may be more
        else:
            self.runner.drained = True

    def _try(self, link: OpenLink, tokens: list[str]) -> None:
        since = time.monotonic()
        tried = try_suspect(link, self._membership, tokens[-1])
        if tried.limited:
            self.runner.wait(self.runner.timing.look_limited)
            return
        # Not earlier: if the reply is lost, the same suspect is asked for again.
        token = tokens.pop()
        log_vanished(self._membership, [token] if tried.vanished else [])
        if tried.delivery is None:
            return
        self._found = True
        self.runner.take([tried.delivery], since)
        if tried.crashed is None:
            self.runner.handle([tried.delivery])
            self.runner.in_flight.finish()
        else:
            _give_up(tried.delivery, tried.crashed)
            self.runner.unsettled.add_all([tried.delivery], since)
        self.runner.connection.attempt(self.runner.settle_ready)

    def _leave(self, link: OpenLink) -> None:
        """Leave to the next quarantine each run that was written down but not begun, or that can't be settled."""
        self.runner.settling.settle(link, self.runner.unsettled.send_everything())
        for each in pending_of(link, self._membership, lambda _: False).deliveries:
            take_back(link, self._membership, each.token)
        self.runner.leave(link)


def _give_up(delivery: Delivery, known: Crashed) -> None:
    """Give a suspect its outcome without another run; what has failed was told by the rescuer after each run."""
    handler = known.handler or "its handler"
    how = known.how or "vanished"
    error = f"It was begun {known.runs} times by {handler}, alone in its process, and never ended. The process {how}."
    delivery.outcome = DeadLetter(Reason.CRASHED, Failure(handler=known.handler, error=error))
    if signals.worker_has_receivers():
        delivery.run = _unrun(delivery, known)


def _unrun(delivery: Delivery, known: Crashed) -> Run:
    """Return what receivers are told. A message without a known handler isn't decoded: that may have ended it."""
    if known.handler:
        try:
            return Run(decode_entry(delivery), known.handler)
        except Undecodable:
            pass
    return undecoded(delivery)
