"""Quarantine: the suspects of a group, run one at a time, with nothing beside them in their process.

Each run is written down on the server before it begins. So however it ends its process, or its host, the next
quarantine knows, on whatever host: after MAX_CRASHES runs that were begun and never ended, the message is
dead-lettered unrun.
"""

from __future__ import annotations

import time

from ...connections import Link
from ...outcomes import DeadLetter, Failure, Reason
from ...store.consume.ownership import pending_of
from ...store.consume.suspects import Crashed, suspects, take_back, try_suspect
from ..log import log_vanished
from .consumer import Consumer

__all__ = ["Quarantine"]


class Quarantine(Consumer):
    """A consumer that takes nothing but suspects, and ends when there is none that it may take."""

    _tokens: list[str] | None = None
    _found = False

    def _iterate(self, link: Link) -> None:
        """Run one suspect and settle it, before the next is looked for."""
        self._executor.get_on()
        self._settling.take_flushed()
        self._settling.settle(link, self._unsettled.send_everything())
        if len(self._unsettled):  # refused, and reported: nothing more begins meanwhile
            self._stop.wait(self.timing.block)
            return
        self._reader.look(link)
        if self._reader.paused:
            self._drained = True
            return
        if self._tokens is None:
            self._tokens, self._found = suspects(link, self.membership), False
        if self._tokens:
            self._try(link, self._tokens)
        elif self._found:
            self._tokens = None  # meanwhile there may be more
        else:
            self._drained = True

    def _try(self, link: Link, tokens: list[str]) -> None:
        since = time.monotonic()
        tried = try_suspect(link, self.membership, tokens[-1])
        if tried.limited:
            self._stop.wait(self.timing.look_limited)
            return
        # Only now: where the reply is lost, the same is asked for again.
        token = tokens.pop()
        log_vanished(self.membership, [token] if tried.vanished else [])
        if tried.delivery is None:
            return
        self._found = True
        self._in_hand([tried.delivery], since)
        if tried.crashed is None:
            self._handle([tried.delivery])
            self._in_flight.finish()
        else:
            tried.delivery.outcome = _crashed(tried.crashed)
            self._unsettled.add_all([tried.delivery], since)
        self.connection.attempt(self._settle_ready)

    def _leave(self, link: Link) -> None:
        """A run that was written down and not begun, or whose outcome can't be settled, is the next one's."""
        self._settling.settle(link, self._unsettled.send_everything())
        for each in pending_of(link, self.membership, lambda _: False).deliveries:
            take_back(link, self.membership, each.token)
        super()._leave(link)


def _crashed(known: Crashed) -> DeadLetter:
    handler = known.handler or "its handler"
    how = known.how or "was never heard of again"
    error = f"Alone in its process it was begun {known.runs} times by {handler}, and never ended: the process {how}."
    return DeadLetter(Reason.CRASHED, Failure(handler=known.handler, error=error))
