"""A consumer's blocked read, and how another thread ends it: by CLIENT UNBLOCK, on a link of its own.

UNBLOCK ends only what is blocked on the server at that moment, and a read may just be on its way there. So whoever
wakes first leaves a mark, and the consumer first notes that it is about to block, then looks for the mark. One of the
two sees the other: either the read doesn't block, or UNBLOCK is sent until it has ended that read.
"""

from __future__ import annotations

import time
from typing import Final

from ...connections import Link
from ...store.consume.connection import Client, unblock

__all__ = ["Waking"]

# How often a read that is on its way is looked for on the server, and how many seconds lie between two of these looks.
_TRIES: Final = 20
_BETWEEN: Final = 0.005


class Waking:
    """For one consumer: `client` is its connection, None where there is none.

    The consumer's thread calls `begin` before a read that would block, and `end` when that has ended. `wake` and `mark`
    are for any thread.
    """

    def __init__(self) -> None:
        self.client: Client | None = None
        self._blocks = False
        self._marked = False

    def begin(self) -> bool:
        """Return whether the next read may block: not if somebody has woken the consumer since it last asked this."""
        self._blocks = True  # before the look at the mark: see above
        if self._marked:
            self._blocks = self._marked = False
            return False
        return True

    def end(self) -> None:
        """Note that no read blocks any more."""
        self._blocks = False

    def mark(self) -> None:
        """Keep the next read from blocking."""
        self._marked = True

    def wake(self, link: Link) -> None:
        """End the read that blocks, or keep the next one from blocking."""
        self._marked = True
        for _ in range(_TRIES):
            client = self.client
            if client is None or client.id is None or not (self._blocks and self._marked):
                return
            if unblock(link, client) or not client.wakeable:
                return
            time.sleep(_BETWEEN)
