"""Hears the notices of a connection's streams, and wakes what sleeps in this process because of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...connections import OpenLink
from ...exceptions import ServerUnreachable
from ...store.consume.notices import Kind, last_ids, notices, wait_command
from ..consumer.batch_runner import BatchRunner
from ..timing import Timing
from .service import Service

__all__ = ["Listener"]


class Listener(Service):
    """Waits for notices, and hands each on to what sleeps in this process.

    `hear_due` is given a stream in which something is due, `hear_claimable` stream and group where something may be
    claimed. The consumers of a group that was paused are woken.

    After each connecting it does as if each notice had come, as some may have been missed.
    """

    def __init__(
        self,
        alias: str,
        stop: threading.Event,
        consumers: Sequence[BatchRunner],
        streams: Sequence[StreamConfig],
        timing: Timing,
        *,
        hear_due: Callable[[str], None],
        hear_claimable: Callable[[str, str], None],
    ) -> None:
        super().__init__(alias, stop, timing, reply_within=timing.listen + timing.service_timeout)
        self._streams: Mapping[str, str] = {each.keys.notices: each.name for each in streams}
        self._consumers: dict[str, list[BatchRunner]] = {}
        for each in consumers:
            self._consumers.setdefault(each.membership.stream.name, []).append(each)
        self._hear_due = hear_due
        self._hear_claimable = hear_claimable
        # The last notice that is known, by key. A key that the server refuses to read isn't in it.
        self._after: dict[str, str] = {}
        # The streams of which notices were heard before: some may have been missed since.
        self._heard: set[str] = set()

    @property
    def interval(self) -> float:
        """In seconds: none, as a step waits by itself."""
        return 0.0

    def connected(self) -> None:
        """Have all be looked at, because notices may have been missed."""
        self._after.clear()

    def step(self, link: OpenLink) -> None:
        """Wait for notices, and hand them on."""
        refused = self._begin(link)
        try:
            if self._after:
                self._wait_for_notices(link)
        except ResponseError as error:
            refused = error
            self._doubt_all()
        except ServerUnreachable:
            if self._stop.is_set():
                return
            raise
        if refused is not None:
            raise refused

    def end_wait(self) -> None:
        """End the wait for notices: the process stops."""
        super().end_wait()
        self.cut()

    def _doubt_all(self) -> None:
        """Have the next step ask one by one: what was refused doesn't say of which key."""
        self._after.clear()

    def _wait_for_notices(self, link: OpenLink) -> None:
        """Wait for a notice of any stream, and hand it on."""
        self._hear(link, link.call(*wait_command(self._after, self._listen_ms)))

    @property
    def _listen_ms(self) -> int:
        return round(self._timing.listen * 1000)

    def _begin(self, link: OpenLink) -> ResponseError | None:
        """Begin with the last notice of each stream of which none is known; return the error if one is refused."""
        unknown = [key for key in self._streams if key not in self._after]
        refused = None
        for key, last in zip(unknown, last_ids(link, unknown), strict=True):
            if isinstance(last, ResponseError):
                refused = last
            else:
                self._after[key] = last
                self._look_at_all(link, self._streams[key])
        return refused

    def _look_at_all(self, link: OpenLink, stream: str) -> None:
        """Do as if each notice had come: it may have come while none was heard."""
        self._hear_due(stream)
        for group in {each.membership.group.name for each in self._consumers.get(stream, ())}:
            self._hear_claimable(stream, group)
            if stream in self._heard:
                self._wake(link, stream, group)
        self._heard.add(stream)

    def _hear(self, link: OpenLink, reply: object) -> None:
        due = set()
        for notice in notices(reply):
            self._after[notice.key] = notice.entry_id
            if notice.kind is Kind.DUE:
                due.add(self._streams[notice.key])
            elif notice.kind is Kind.CLAIMABLE:
                self._hear_claimable(self._streams[notice.key], notice.group)
            elif notice.kind is Kind.PAUSED:
                self._wake(link, self._streams[notice.key], notice.group)
        for stream in due:
            self._hear_due(stream)

    def _wake(self, link: OpenLink, stream: str, group: str) -> None:
        for each in self._consumers.get(stream, ()):
            if each.membership.group.name == group:
                each.connection.wake(link)
