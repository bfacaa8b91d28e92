"""The repair after a failover: what a server has lost of the kept rows is sent again, under the same ids.

A server that was restarted, or another that took its place, may lack the last writes. The relay notes on the server
which one it has compared. Where that is another, it looks for each kept row, and has those sent again that are missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Final

from redis.exceptions import ResponseError

from ..conf import StreamConfig
from ..connections import Link
from ..connections.refusals import PartUnreachable
from ..querying import exactly
from ..store.observe.server import compared_with, identity, note_compared
from .lost import PAGE, lost_rows, send_again
from .standing import SENT, all_rows

__all__ = ["Repair"]

logger = logging.getLogger("django_redis_streams")

# In seconds. Somebody who published before the failover may mark a row as sent only after the first look at the rows,
# so they are looked at once more. And how soon it is tried again where the server refused something, or a node of a
# cluster was away.
_AGAIN: Final = 20.0
_REFUSED: Final = 60.0
_AWAY: Final = 5.0


class Repair:
    """Compares the kept rows of the database `using` with a server, which notes under `key` that it was compared."""

    def __init__(self, using: str, key: str) -> None:
        self._using, self._key = using, key
        # When to go on, on the monotonic clock; None where nothing is to be done.
        self._due: float | None = None
        self._passes = 0
        self._after = 0
        self._identity = ""

    def begin(self) -> None:
        """Find out in the next step whether the server is another than was compared last."""
        self._due, self._passes, self._after = 0.0, 0, 0

    def step(self, link: Link, streams: Iterable[StreamConfig]) -> bool:
        """Look for some rows, if it is time; return whether to go on at once."""
        if self._due is None or time.monotonic() < self._due:
            return False
        kept = {each.name: each for each in streams if each.outbox_keep}
        if not kept:
            self._due = None
            return False
        try:
            return self._step(link, kept)
        except PartUnreachable:
            # Of a cluster: no refusal. What is for its other nodes is sent meanwhile.
            self._due = time.monotonic() + _AWAY
            return False
        except ResponseError as error:
            self._due = time.monotonic() + _REFUSED
            logger.error(  # noqa: TRY400  the traceback says nothing more
                "The outbox can't find out whether the server has lost messages: %r. It tries again in %d s.",
                str(error), _REFUSED,
            )  # fmt: skip
            return False

    def _step(self, link: Link, kept: Mapping[str, StreamConfig]) -> bool:
        if not self._after and not self._passes:
            self._identity = identity(link)
            if compared_with(link, self._key) == self._identity:
                self._due = None
                return False
        every = all_rows(self._using).filter(SENT, exactly("stream", kept))
        page = list(every.filter(pk__gt=self._after).defer("entry").order_by("pk")[:PAGE])
        send_again(self._using, lost_rows(self._using, link, kept, page))
        if len(page) == PAGE:
            self._after = page[-1].pk
            return True
        self._after = 0
        self._passes += 1
        if self._passes == 1:
            self._due = time.monotonic() + _AGAIN
        else:
            note_compared(link, self._key, self._identity)
            self._due = None
        return False
