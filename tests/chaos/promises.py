"""What docs/guarantees.md promises under each nemesis, for each kind of stream.

Nowhere may an acknowledged message be lost, or one be stuck, or an effect with the inbox be there twice. What differs
is what may be delivered twice, and what others did to the books.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Excuse(StrEnum):
    """Why a message may be delivered again: rows of the table "What may come twice"."""

    # It ran in a process that was killed, or stood still for longer than CLAIM_IDLE; or it was handled there within
    # `Promise.around` seconds before.
    STRUCK = "its process was killed, or stood still"
    # The connection to the database was lost while it ran.
    COMMIT = "its commit was in doubt"
    # The outbox sent it again: as a second entry of one id.
    RESENT = "it was sent again"
    # It was given to a group that was destroyed and made again.
    REMADE = "its group was made again"
    # It was acknowledged, and the server that was elected doesn't know that yet.
    FAILED_OVER = "the master was replaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What may come twice on the stream without an outbox (`bare`) and on the one with it (`kept`), and why.

    `by_others` are counters of the books that a fault of this kind may raise.
    """

    bare: frozenset[Excuse] = frozenset()
    kept: frozenset[Excuse] = frozenset()
    by_others: frozenset[str] = frozenset()
    # So many seconds around a fault count as during it. A message that was handled before may not be acknowledged (for
    # about 50 ms), one that was read before may be run after; and what a busy machine adds.
    around: float


def _both(
    *excuses: Excuse, kept: tuple[Excuse, ...] = (), by_others: tuple[str, ...] = (), around: float = 0.5
) -> Promise:
    """Return a promise for streams that differ by what `kept` adds."""
    return Promise(
        bare=frozenset(excuses) - {Excuse.RESENT},
        kept=frozenset([*excuses, *kept]),
        by_others=frozenset(by_others),
        around=around,
    )


PROMISES: Final = {
    "calm": _both(),
    # A process may be killed as it relays: before it has deleted the row of what it sent.
    "process-killed": _both(Excuse.STRUCK, kept=(Excuse.RESENT,)),
    # Its supervisor has what it holds renewed.
    "process-stopped": _both(kept=(Excuse.RESENT,)),
    "worker-stopped": _both(Excuse.STRUCK, kept=(Excuse.RESENT,)),
    # Its processes finish what they run, settle, and end.
    "supervisor-killed": _both(),
    "supervisor-stopped": _both(),
    "publisher-killed": _both(kept=(Excuse.RESENT,)),
    "publisher-stopped": _both(kept=(Excuse.RESENT,)),
    # A reply that is lost makes the outbox send again; the worker settles again, which doubles nothing.
    "server-killed": _both(kept=(Excuse.RESENT,)),
    "server-restarted": _both(kept=(Excuse.RESENT,)),
    "server-stopped": _both(kept=(Excuse.RESENT,)),
    "memory-full": _both(),
    # A row stays where the DELETE after the sending fails.
    "postgresql-restarted": _both(Excuse.COMMIT, kept=(Excuse.RESENT,)),
    "replies-eaten": _both(kept=(Excuse.RESENT,)),
    "replies-cut": _both(kept=(Excuse.RESENT,)),
    "replies-delayed": _both(),
    "line-narrow": _both(),
    "scripts-flushed": _both(),
    "clients-killed": _both(kept=(Excuse.RESENT,)),
    "group-destroyed": _both(Excuse.REMADE, by_others=("made-again",)),
    "dead-letters-taken": _both(),
    # Replication is asynchronous: what a master knew last is lost with it. Publishers alone wait for a replica.
    "master-killed": _both(Excuse.FAILED_OVER, kept=(Excuse.RESENT,), around=2.0),
    "master-stopped": _both(Excuse.FAILED_OVER, kept=(Excuse.RESENT,), around=2.0),
    # While one fault lasts, another may keep a worker from settling for seconds.
    "mixed": _both(*set(Excuse) - {Excuse.FAILED_OVER}, by_others=("made-again",), around=5.0),
}

# The nemesis under which the checker must notice each of the mutants.
NOTICED_UNDER: Final = {
    "acknowledge-before-handling": "process-killed",
    "claim-nothing": "process-killed",
    "trust-ownership": "worker-stopped",
    "copy-after-acknowledging": "dead-letters-taken",
    "forget-after-reconnecting": "clients-killed",
    "relay-deletes-first": "memory-full",
    "inbox-row-before-the-transaction": "process-killed",
    "inbox-row-after-the-transaction": "process-killed",
}
