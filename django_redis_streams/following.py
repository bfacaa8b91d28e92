"""Following a stream without a consumer group: every reader gets every message, and there is nothing to settle.

It is for code that only looks: a page that shows what happens, a search index that keeps its own position, a shell.
Work that must be done once, and is tried again, is for a handler of a group.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any, Final, TypeVar

from . import conf, connections, wire
from .conf import StreamConfig, nearest, values
from .connections import OpenLink
from .exceptions import ServerUnreachable
from .message import Message
from .retry import backoff_delay
from .store.observe.follow import await_command, awaited, last_ids, next_entries
from .wire import Fields, Origin, Undecodable

__all__ = ["afollow", "follow"]

T = TypeVar("T")

logger = logging.getLogger("django_redis_streams")

# How long one read waits on the server, and how much later its reply may come, in seconds.
_BLOCK: Final = 1.0
_REPLY: Final = 5.0
# Between attempts to reach a server that was lost: base and cap, in seconds.
_BACKOFF: Final = (0.2, 5.0)


def follow(
    stream: str,
    *,
    after: str = "$",
    lane: str | None = None,
    block: float | timedelta | None = None,
    count: int = 100,
) -> Iterator[Message]:
    """Return the messages of a stream as they come, without a group, for ever.

    `after` is "$" for those that come from this call on, "0" for all that are there and then those that come, or
    the `entry_id` of the last message that is known. With `block` it ends when nothing came for so many seconds,
    with 0 as soon as there is nothing more. `count` is how many entries of each lane are asked for at once; of large
    ones fewer come, about 4 MiB.

    A message has neither a group nor retries, and groups lose nothing by it. A message that can't be decoded, which no
    handler could be given, has its fields as payload. Without `lane` all lanes are read, each in its order: to go on
    exactly after an `entry_id`, read one lane.

    A lost connection is made again, with growing waits, and reading goes on after the last message: none is left out
    and none comes twice. Only what is trimmed before it is read is missed.

    Raises `UnknownStream`, `ValueError` for arguments that can't be, and `ServerUnreachable` where the server can't be
    asked at the call, or with `block` stays away for so long; and redis-py's `ResponseError`.
    """
    return _messages(*_begin(stream, after, lane, block, count))


async def afollow(
    stream: str,
    *,
    after: str = "$",
    lane: str | None = None,
    block: float | timedelta | None = None,
    count: int = 100,
) -> AsyncIterator[Message]:
    """As `follow`, for `async for`; the server is asked in a thread of its own, which ends with the loop.

    It begins when the first message is asked for: "$" is for those that come from then on, and the errors that `follow`
    raises at the call are raised then.
    """
    thread, loop = ThreadPoolExecutor(1, thread_name_prefix="afollow"), asyncio.get_running_loop()
    try:
        follower, seconds = await loop.run_in_executor(thread, _begin, stream, after, lane, block, count)
        try:
            while found := await loop.run_in_executor(thread, follower.next, seconds):
                for message in found:
                    yield message
        finally:
            # A coroutine that was cancelled doesn't wait for its thread, which may still be reading.
            follower.stop()
            thread.submit(follower.close)
    finally:
        thread.shutdown(wait=False)


def _begin(
    stream: str, after: str, lane: str | None, block: float | timedelta | None, count: int
) -> tuple[_Follower, float]:
    """Return a follower of the stream, and after how many seconds without a message it ends."""
    config = conf.stream(stream)
    origins = {config.keys.lane(name): _origin(config, name) for name in _lanes(config, lane)}
    seconds = _seconds(block)
    begin = _checked("after", after, values.entry_position)
    _checked("count", count, values.positive)
    last = last_ids(connections.get(config.connection), list(origins))
    positions = dict(zip(origins, last, strict=True)) if begin == "$" else dict.fromkeys(origins, begin)
    return _Follower(config.connection, origins, positions, count), seconds


def _messages(follower: _Follower, seconds: float) -> Iterator[Message]:
    with closing(follower):
        while found := follower.next(seconds):
            yield from found


class _Follower:
    """Reads on after what it read last, over any number of connections."""

    def __init__(self, alias: str, origins: Mapping[str, Origin], positions: dict[str, str], count: int) -> None:
        self._alias = alias
        self._origins = origins
        self._positions = positions
        self._count = count
        self._link: OpenLink | None = None
        self._stopped = threading.Event()

    def next(self, seconds: float) -> list[Message]:
        """Return the next messages; none when so many seconds went by without one, or it was stopped."""
        ends, failures = time.monotonic() + seconds, 0
        while not self._stopped.is_set():
            try:
                found = self._read(ends - time.monotonic())
            except ServerUnreachable as error:
                self.close()
                failures += 1
                self._wait(failures, ends, error)
                continue
            if failures:
                logger.info("Connection %r is back: reading goes on after the last message.", self._alias)
                failures = 0
            if found or time.monotonic() >= ends:
                return found
        return []

    def stop(self) -> None:
        """Let `next` end within about a second, in whichever thread it runs."""
        self._stopped.set()

    def close(self) -> None:
        """Close the connection."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _read(self, left: float) -> list[Message]:
        if self._link is None:
            # All lanes of a stream are on one node of a cluster.
            key = next(iter(self._positions))
            self._link = connections.open(self._alias, timeout=_BLOCK + _REPLY, key=key)
        found = next_entries(self._link, self._positions, self._count)
        if not found and left > 0:
            block_ms = math.ceil(1000 * min(left, _BLOCK))
            found = awaited(self._link.call(*await_command(self._positions, block_ms)))
        self._positions |= {key: entry.entry_id for key, entry in found}
        return [_decoded(self._origins[key], entry.entry_id, entry.fields) for key, entry in found]

    def _wait(self, failures: int, ends: float, error: ServerUnreachable) -> None:
        """Wait before the next attempt; raises the error where that would be after the end."""
        wait = backoff_delay(failures, _BACKOFF)
        if time.monotonic() + wait >= ends:
            raise error
        if failures == 1:
            logger.warning("%s Reading goes on as soon as it is back.", error)
        self._stopped.wait(wait)


def _decoded(origin: Origin, entry_id: str, fields: Fields) -> Message:
    try:
        return wire.decode(origin, entry_id, fields)
    except Undecodable:
        return wire.decode_as_foreign(origin, entry_id, fields)


def _origin(config: StreamConfig, lane: str) -> Origin:
    return Origin(stream=config.name, group="", key=config.keys.lane(lane), lane=lane)


def _lanes(config: StreamConfig, lane: str | None) -> list[str]:
    if lane is None:
        return list(config.lane_names)
    if lane not in config.lane_names:
        raise ValueError(
            f"lane={lane!r}: expected one of the LANES of stream {config.name!r}.{nearest(lane, config.lane_names)}"
        )
    return [lane]


def _checked(name: str, value: object, parse: Callable[[Any], T]) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(f"{name}={value!r}: {error}.") from None


def _seconds(block: object) -> float:
    if block is None:
        return math.inf
    seconds = block.total_seconds() if isinstance(block, timedelta) else block
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise ValueError(f"block={block!r}: expected seconds, 0 or more, a timedelta, or None to wait for ever.")
    return seconds
