"""The connections of a process to one server. Each is lent for one exchange, and kept for the next, in any thread.

Threads come and go, under ASGI with each request. Connections stay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from .endpoint import Endpoint
from .hurry import ANSWER, ANSWERS
from .link import Command, Link, OpenLink

__all__ = ["Pool"]


class Pool(Link):
    """A link for any number of threads. It connects by itself: when first used, after a loss, in a forked child.

    Each exchange takes the connection that was used last, or a new one where all are lent: there are as many as there
    are exchanges at one moment. Idle ones are closed beyond `KEPT`, and those that weren't used for `IDLE` seconds when
    another is given back.

    A connection that was idle for a second is looked at before it is used, so a server that was restarted since is no
    error. When one is lost, the idle ones are closed too: they led to the same server.
    """

    KEPT: Final = 10
    IDLE: Final = 60.0
    PAUSES: Final = (0.05, 0.1, 0.2)  # seconds between attempts to connect
    # What it lends.
    LINK: type[OpenLink] = OpenLink

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        # The one used last is at the right end. Threads need no lock, because each append and pop is atomic.
        self._idle: deque[OpenLink] = deque()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Pool {self._endpoint.alias!r} to {self._endpoint.address}, {len(self._idle)} idle>"

    @property
    def has_idle(self) -> bool:
        """Whether it has a connection that isn't lent. Another thread may borrow it at any moment."""
        return bool(self._idle)

    def call_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send some commands at once and return the replies; an error reply stands in its place, as an exception."""
        link = self.lend()
        try:
            return link.call_many(commands)
        finally:
            self.take_back(link)

    def call_in_turns(self, batches: Iterable[Sequence[Command]]) -> Iterator[list[Any]]:
        """Do as `call_many` for each of some batches, in turns with the server, on one connection."""
        link = self.lend()
        try:
            yield from link.call_in_turns(batches)
        finally:
            self.take_back(link)

    def close(self) -> None:
        """Close the idle connections now, and each lent one when it is given back."""
        self._closed = True
        self._close_idle()

    def lend(self) -> OpenLink:
        """Return a link as `_borrow` does, of a server that answers, if somebody waits for it in a hurry."""
        if (look := ANSWERS.get()) is not None:
            look.check(self._endpoint.alias + self._endpoint.place, self._ask)
        return self._borrow()

    def _ask(self) -> None:
        link = self._borrow()
        try:
            link.ask(ANSWER)
        finally:
            self.take_back(link)

    def _borrow(self) -> OpenLink:
        """Return a connected link that is the caller's until it gives it back. Raises `ServerUnreachable`."""
        try:
            while True:
                link = self._idle.pop()
                if link.usable:  # a forked child has closed those of its parent
                    return link
                link.close()
        except IndexError:  # none is left
            pass
        link = self.LINK(self._endpoint, self._endpoint.timeout)
        link.connect(self.PAUSES, self._endpoint.bound)
        return link

    def take_back(self, link: OpenLink) -> None:
        """Keep a link for the next exchange, unless it was lost: a link whose exchange failed has closed itself."""
        if self._closed or not link.connected:
            link.close()
            self._close_idle()
            return
        idle = self._idle
        idle.append(link)
        if len(idle) > 1:
            self._close_surplus()

    def _close_surplus(self) -> None:
        """Close those that were used least lately: beyond the number that is kept, or idle for too long."""
        idle = self._idle
        with suppress(IndexError):  # other threads take them meanwhile
            while len(idle) > self.KEPT or idle[0].idle > self.IDLE:
                idle.popleft().close()

    def _close_idle(self) -> None:
        idle = self._idle
        with suppress(IndexError):  # as above
            for _ in range(len(idle)):
                idle.popleft().close()
