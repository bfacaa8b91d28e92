"""The outcomes of one consumer that the server hasn't been seen to settle.

An outcome stays here until its command was answered: after a lost connection it is sent again, which
changes nothing where the first try had arrived. What the server refuses (a wrong type, an ACL, a full disk)
stays too, and is tried again, alone and ever less often, while the rest goes on.

The consumer's thread alone changes all this, with two exceptions. While a handler runs, the heartbeat's thread may take
the ready outcomes and send them, by `flush`, which keeps the replies. Another thread, or the consumer's, takes those by
`flushed`. Whoever books a reply, by `settled` or `refuse`, holds the lock `booking`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from math import inf

from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership
from ...store.consume.settle import SettleCommands, settle_commands
from ...store.scripts import Command
from ..timing import Backoff

__all__ = ["Unsettled"]

# How many seconds an outcome may wait to be settled together with others, and how many may wait.
_LATEST = 0.05
_MOST = 100
# A consumer that can't settle this many reads nothing more: what it reads would only be held up too.
MOST_REFUSED = 1_000

Replies = Sequence[object]


class Unsettled:
    """Outcomes, by their deliveries: to be settled (`ready`), on their way (`in_flight`, by command), or refused.

    With `most_refused` of the last kind it is `overfull`.
    """

    def __init__(self, membership: Membership, backoff: Backoff) -> None:
        self.ready: list[Delivery] = []
        self.in_flight: dict[int, list[Delivery]] = {}
        self.refused: list[Delivery] = []
        self.most_refused = MOST_REFUSED
        self._membership = membership
        self._since = 0.0
        self._backoff = backoff
        # Held by the heartbeat while it flushes. The consumer waits for that, and nobody waits for the consumer.
        self._flushing = threading.Lock()
        self._flushed: deque[tuple[SettleCommands, Replies]] = deque()
        # Held for as long as it takes to book replies: until then, what was flushed still counts as in flight.
        self.booking = threading.Lock()

    def __len__(self) -> int:
        return len(self.ready) + sum(map(len, list(self.in_flight.values()))) + len(self.refused)

    @property
    def overfull(self) -> bool:
        """Whether so much was refused that no more may be read."""
        return len(self.refused) >= self.most_refused

    @property
    def retry_due(self) -> bool:
        """Whether what was refused may be tried again now."""
        return bool(self.refused) and self._backoff.over

    @property
    def due_in(self) -> float:
        """In how many seconds what was refused may be tried again; inf if nothing was."""
        return self._backoff.left if self.refused else inf

    def collect(self, now: float) -> list[Delivery]:
        """Hand out the list that takes outcomes from now on: always the same one.

        The caller, in the consumer's thread, appends each delivery that has its outcome. It calls this again after each
        settling, so that it is known since when the first outcome waits.
        """
        if not self.ready:
            self._since = now
        return self.ready

    def add_all(self, ended: Sequence[Delivery], now: float) -> bool:
        """Add outcomes of runs that have just ended, and return whether to settle before the next run."""
        self.collect(now).extend(ended)
        return self._late(now)

    def send(self) -> SettleCommands:
        """Return the commands that settle all ready outcomes, which are in flight from now on."""
        with self._flushing:
            return self._taken()

    def send_refused(self) -> SettleCommands:
        """Return the commands that settle all refused outcomes, which are in flight again from now on."""
        with self.booking:
            refused, self.refused = self.refused, []
            return self._on_way(refused)

    def send_everything(self) -> SettleCommands:
        """Return the commands that settle all outcomes that the server hasn't answered, to be sent again."""
        with self.booking, self._flushing:
            answered = {id(batch) for commands, _ in self._flushed for _, batch in commands}
            lost = [self.in_flight.pop(each) for each in list(self.in_flight) if each not in answered]
            refused, self.refused = self.refused, []
            return self._on_way([*refused, *chain.from_iterable(lost)]) + self._taken()

    def settled(self, batch: list[Delivery]) -> None:
        """Forget a batch that the server has settled, now or before."""
        self.in_flight.pop(id(batch), None)
        if not self.refused:
            self._backoff.reset()

    def refuse(self, batches: Iterable[list[Delivery]]) -> float:
        """Keep batches that the server refused, and return in how many seconds all that was refused is tried again."""
        for each in batches:
            self.in_flight.pop(id(each), None)
            self.refused += each
        # What is refused while the others wait joins them, and doesn't put off their try.
        return self._backoff.more() if self._backoff.over else self._backoff.left

    def forget(self) -> None:
        """Forget all outcomes, because none can be settled any more."""
        with self.booking, self._flushing:
            self.ready.clear()
            self.in_flight.clear()
            self.refused.clear()
            self._flushed.clear()

    def flush(self, now: float, exchange: Callable[[Sequence[Command]], Replies]) -> None:
        """Settle what waits for too long, by `exchange`; for the heartbeat's thread.

        If that fails, the outcomes are ready again, whether they arrived or not.
        """
        if not self._late(now) or not self._flushing.acquire(blocking=False):
            return
        try:
            commands = self._taken()
            try:
                replies = exchange([command for command, _ in commands])
            except BaseException:
                for _, batch in commands:
                    del self.in_flight[id(batch)]
                    self.ready += batch
                raise
            self._flushed.append((commands, replies))
        finally:
            self._flushing.release()

    @property
    def any_flushed(self) -> bool:
        """Whether the heartbeat has got replies that nobody has taken yet."""
        return bool(self._flushed)

    def flushed(self) -> Iterator[tuple[SettleCommands, Replies]]:
        """Yield the commands that the heartbeat has sent, with their replies, each once; for a holder of `booking`."""
        while self._flushed:
            yield self._flushed.popleft()

    def _late(self, now: float) -> bool:
        return bool(self.ready) and (len(self.ready) > _MOST or now - self._since > _LATEST)

    def _taken(self) -> SettleCommands:
        # The consumer may append an outcome meanwhile, as it runs a handler: that one stays in the list.
        count = len(self.ready)
        taken = self.ready[:count]
        del self.ready[:count]
        return self._on_way(taken)

    def _on_way(self, ended: list[Delivery]) -> SettleCommands:
        commands = settle_commands(self._membership, ended)
        self.in_flight.update((id(batch), batch) for _, batch in commands)
        return commands
