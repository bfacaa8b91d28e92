"""Hearing notices in a cluster, where a read can't wait for streams of several slots: each stream has a connection."""

from __future__ import annotations

import select
import time
from typing import Any, Final

from redis.exceptions import ResponseError

from ... import conf, connections
from ...connections import OpenLink
from ...connections.refusals import part_of
from ...exceptions import ServerUnreachable
from ...store.consume.notices import wait_command
from .listener import Listener

__all__ = ["ClusterListener", "listening"]

# In seconds: how often at least it looks whether the process stops, or something else is to be done.
_SLICE: Final = 0.5


def listening(alias: str) -> type[Listener]:
    """Return the kind of listener that a connection needs."""
    return ClusterListener if conf.connection(alias).by_cluster else Listener


class ClusterListener(Listener):
    """As `Listener`, with a connection for each stream's notices, to the node that has them.

    Where one is lost, that stream's notices are heard again as soon as its node has told the last of them: until then
    it is as if they had been refused.
    """

    def __init__(self, *arguments: Any, **further: Any) -> None:
        super().__init__(*arguments, **further)
        # By key. On each a read waits.
        self._ears: dict[str, OpenLink] = {}

    def connected(self) -> None:
        """Do nothing: where notices may have been missed, their own connection was lost."""

    @property
    def waits_since(self) -> float | None:
        """Since when it waits for a reply, on the monotonic clock; None where none is owed. For any thread."""
        waits = [super().waits_since, *(each.waits_since for each in list(self._ears.values()))]
        return min((each for each in waits if each is not None), default=None)

    def cut(self) -> None:
        """Count all replies that are owed as lost; for any other thread."""
        super().cut()
        for each in list(self._ears.values()):
            each.cut()

    def end(self) -> None:
        """Close all connections."""
        for each in self._ears.values():
            each.close()

    def _begin(self, link: OpenLink) -> ResponseError | None:
        """Begin as every listener; at a stop, its connections were cut."""
        refused = super()._begin(link)
        return None if self._stop.is_set() else refused

    def _wait_for_notices(self, link: OpenLink) -> None:
        """Wait for a notice of any stream, and hand it on; raise after that what went wrong with another."""
        failed: Exception | None = None
        for key in [*self._after]:
            if key not in self._ears:
                try:
                    self._ears[key] = self._begun(key)
                except (ServerUnreachable, ResponseError) as error:
                    failed = self._lose(key, error) or failed
        for key in self._readable():
            try:
                self._take(link, key)
            except (ServerUnreachable, ResponseError) as error:
                failed = self._lose(key, error) or failed
        if failed is not None and not self._stop.is_set():
            raise failed

    def _doubt_all(self) -> None:
        """Do nothing: what was refused is known by its key."""

    def _begun(self, key: str) -> OpenLink:
        """Return a connection on which a read waits for notices behind the last that is known."""
        link = connections.open(self.alias, timeout=self._reply_within, key=key)
        self._ask(link, key)
        return link

    def _ask(self, link: OpenLink, key: str) -> None:
        link.send([wait_command({key: self._after[key]}, self._listen_ms)])

    def _readable(self) -> list[str]:
        """Return the keys whose reads have ended, or are late, once there are some; none after a while."""
        keys = {each.fileno(): key for key, each in self._ears.items()}
        if not keys:
            return []
        poll = select.poll()
        for number in keys:
            poll.register(number, select.POLLIN)
        found = [keys[number] for number, _ in poll.poll(_SLICE * 1000)]
        now = time.monotonic()
        late = [key for key, each in self._ears.items() if now - (each.waits_since or now) > self._reply_within]
        for key in late:
            self._ears[key].cut()  # else the lack of a reply would be waited for once more
        return list(dict.fromkeys([*found, *late]))

    def _take(self, link: OpenLink, key: str) -> None:
        ear = self._ears[key]
        (reply,) = ear.receive(1)
        if isinstance(reply, Exception):
            raise reply
        self._hear(link, reply)
        if key in self._after:
            self._ask(ear, key)
        else:  # the last notice was asked for anew meanwhile, and that was refused
            self._ears.pop(key).close()

    def _lose(self, key: str, error: ServerUnreachable | ResponseError) -> Exception | None:
        """Have the stream's notices begun with anew, and return what to raise: other streams are as before."""
        self._after.pop(key, None)
        if (ear := self._ears.pop(key, None)) is not None:
            ear.close()
        if not isinstance(error, ServerUnreachable):
            return error
        return None if error.moved else part_of(error)
