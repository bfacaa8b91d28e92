"""The outcomes of one consumer that the server hasn't been seen to settle.

An outcome stays here until its command was answered: after a lost connection it is sent again, which
changes nothing where the first try had arrived. What the server refuses (a wrong type, an ACL, a full disk)
stays too, and is tried again, alone and ever less often, while the rest goes on.

The consumer's thread alone changes all this, but for one thing: while a handler runs, the keeper's thread may
take what is fresh and send it, by `flush`, which leaves what was answered to the consumer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership
from ...store.consume.settle import SettleCommands, settle_commands
from ...store.scripts import Command
from ..backoff import Patience

__all__ = ["Ledger"]

# How long an outcome may wait for company, and how much of it there may be.
_LATEST = 0.05
_MOST = 100
# A consumer that can't settle this many reads nothing more: what it reads would only be held up too.
_MOST_REFUSED = 1_000

Replies = Sequence[object]


class Ledger:
    """Outcomes, by their deliveries: to be settled (`fresh`), on their way (`sent`, by command), or refused."""

    def __init__(self, membership: Membership) -> None:
        self.fresh: list[Delivery] = []
        self.sent: dict[int, list[Delivery]] = {}
        self.refused: list[Delivery] = []
        self._membership = membership
        self._since = 0.0
        self._patience = Patience(least=0.5, most=30.0)
        # Held by the keeper while it flushes: the consumer waits for that, the keeper never waits for the consumer.
        self._flushing = threading.Lock()
        self._flushed: list[tuple[SettleCommands, Replies]] = []

    def __len__(self) -> int:
        return len(self.fresh) + sum(map(len, list(self.sent.values()))) + len(self.refused)

    @property
    def full(self) -> bool:
        """Whether so much was refused that no more may be read."""
        return len(self.refused) >= _MOST_REFUSED

    @property
    def again(self) -> bool:
        """Whether what was refused may be tried again now."""
        return bool(self.refused) and self._patience.over

    def begin(self, now: float) -> None:
        """From now on outcomes may be added to `fresh`, right at its end."""
        if not self.fresh:
            self._since = now

    def add_all(self, ended: Sequence[Delivery], now: float) -> bool:
        """Remember outcomes of runs that have ended just now; whether what waits is to be settled before the next."""
        self.begin(now)
        self.fresh += ended
        return self._late(now)

    def send(self) -> SettleCommands:
        """What settles all that is fresh, from now on on its way."""
        with self._flushing:
            return self._taken()

    def send_refused(self) -> SettleCommands:
        """What settles all that was refused, from now on on its way again."""
        refused, self.refused = self.refused, []
        return self._on_way(refused)

    def send_everything(self) -> SettleCommands:
        """What settles all that the server hasn't answered, to be sent again."""
        with self._flushing:
            answered = {id(batch) for commands, _ in self._flushed for _, batch in commands}
            lost = [self.sent.pop(each) for each in list(self.sent) if each not in answered]
            refused, self.refused = self.refused, []
            return self._on_way([*refused, *chain.from_iterable(lost)]) + self._taken()

    def settled(self, batch: list[Delivery]) -> None:
        """The server has settled these, or had before."""
        self.sent.pop(id(batch), None)
        if not self.refused:
            self._patience.reset()

    def refuse(self, batches: Iterable[list[Delivery]]) -> float:
        """The server refused these: they are tried again, with all that was refused, after so many seconds."""
        for each in batches:
            self.sent.pop(id(each), None)
            self.refused += each
        # What is refused while the others wait joins them, and doesn't put off their try.
        return self._patience.more() if self._patience.over else self._patience.left

    def forget(self) -> None:
        """None of these can be settled any more."""
        with self._flushing:
            self.fresh.clear()
            self.sent.clear()
            self.refused.clear()
            self._flushed.clear()

    def flush(self, now: float, exchange: Callable[[Sequence[Command]], Replies]) -> None:
        """Settle what waits for too long, by `exchange`; for the keeper's thread.

        Where that fails it is fresh again, whether it arrived or not.
        """
        if not self._late(now) or not self._flushing.acquire(blocking=False):
            return
        try:
            commands = self._taken()
            try:
                replies = exchange([command for command, _ in commands])
            except BaseException:
                for _, batch in commands:
                    del self.sent[id(batch)]
                    self.fresh += batch
                raise
            self._flushed.append((commands, replies))
        finally:
            self._flushing.release()

    def flushed(self) -> Iterator[tuple[SettleCommands, Replies]]:
        """What the keeper has sent, and the replies; each once."""
        while self._flushed:
            yield self._flushed.pop(0)

    def _late(self, now: float) -> bool:
        return bool(self.fresh) and (len(self.fresh) > _MOST or now - self._since > _LATEST)

    def _taken(self) -> SettleCommands:
        # While a handler runs the consumer may add one: at the end, which stays.
        count = len(self.fresh)
        taken = self.fresh[:count]
        del self.fresh[:count]
        return self._on_way(taken)

    def _on_way(self, ended: list[Delivery]) -> SettleCommands:
        commands = settle_commands(self._membership, ended)
        self.sent.update((id(batch), batch) for _, batch in commands)
        return commands
