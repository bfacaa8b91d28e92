"""The outcomes of one consumer that the server hasn't been seen to settle.

An outcome stays here until its command was answered: after a lost connection it is sent again, which
changes nothing where the first try had arrived. What the server refuses (a wrong type, an ACL, a full disk)
stays too, and is tried again, alone and ever less often, while the rest goes on.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..store.settle import Settled
from .patience import Patience

__all__ = ["Ledger"]

# How long an outcome may wait for company, and how much of it there may be.
_LATEST = 0.05
_MOST = 100
# A consumer that can't settle this many reads nothing more: what it reads would only be held up too.
_MOST_REFUSED = 1_000


class Ledger:
    """Outcomes to be settled (`fresh`), on their way (`sent`), and those the server refused, by token."""

    def __init__(self) -> None:
        self.fresh: dict[str, Settled] = {}
        self.sent: dict[str, Settled] = {}
        self.refused: dict[str, Settled] = {}
        self._since = 0.0
        self._patience = Patience(least=0.5, most=30.0)

    def __len__(self) -> int:
        return len(self.fresh) + len(self.sent) + len(self.refused)

    @property
    def full(self) -> bool:
        """Whether so much was refused that no more may be read."""
        return len(self.refused) >= _MOST_REFUSED

    def late(self, now: float) -> bool:
        """Whether what waits should be settled now, and not with the next read."""
        return bool(self.fresh) and (len(self.fresh) >= _MOST or now - self._since > _LATEST)

    @property
    def again(self) -> bool:
        """Whether what was refused may be tried again now."""
        return bool(self.refused) and self._patience.over

    def add(self, settled: Settled, since: float) -> None:
        """Remember an outcome, of a run that began at `since`: after a slow run it is late at once."""
        if not self.fresh:
            self._since = since
        self.fresh[settled[0].token] = settled

    def send(self) -> list[Settled]:
        """What is fresh, and from now on its way."""
        sending = list(self.fresh.values())
        self.sent.update(self.fresh)
        self.fresh = {}
        return sending

    def everything(self) -> list[Settled]:
        """All of it, to be sent again."""
        return [*self.refused.values(), *self.sent.values(), *self.fresh.values()]

    def settled(self, batch: Iterable[Settled]) -> None:
        """The server has settled these, or had before."""
        mended = False
        for delivery, _ in batch:
            token = delivery.token
            if self.sent.pop(token, None) is None:
                self.fresh.pop(token, None)
            mended = (self.refused and self.refused.pop(token, None) is not None) or mended
        if mended or not self.refused:
            self._patience.reset()

    def refuse(self, batch: Iterable[Settled]) -> float:
        """The server refused these: they are tried again, with all that was refused, after so many seconds."""
        for each in batch:
            self.fresh.pop(each[0].token, None)
            self.sent.pop(each[0].token, None)
            self.refused[each[0].token] = each
        # What is refused while the others wait joins them, and doesn't put off their try.
        return self._patience.more() if self._patience.over else self._patience.left
