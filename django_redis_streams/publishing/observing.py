"""Observers of what is sent to a server, such as a contrib package's: one call for all messages of one sending."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ..conf import StreamConfig
from ..exceptions import StreamsError

__all__ = ["OBSERVERS", "Sent", "add_observer", "observed", "remove_observer"]

# For each message, its entry's id, or why it isn't there.
_Replies = Sequence[str | BaseException]


class Sent(NamedTuple):
    """What was sent at once to a lane of a stream, and in how many seconds; `replies` are in step with the messages.

    A reply is an entry's id ("" for a delayed message, which has none yet), or the error of a message.
    """

    config: StreamConfig
    lane: str
    seconds: float
    replies: _Replies


_Observer = Callable[[Sent], object]

OBSERVERS: Final[list[_Observer]] = []


def add_observer(observer: _Observer) -> None:
    """Call `observer` after each sending from now on; it mustn't raise. Added twice, it counts once."""
    if observer not in OBSERVERS:
        OBSERVERS.append(observer)


def remove_observer(observer: _Observer) -> None:
    """Undo `add_observer`; do nothing if it wasn't added."""
    if observer in OBSERVERS:
        OBSERVERS.remove(observer)


def observed(
    config: StreamConfig, lane: str, count: int, send: Callable[[], list[str | StreamsError]]
) -> list[str | StreamsError]:
    """Send `count` messages, tell the observers, and return the replies."""
    replies: _Replies = ()
    began = time.perf_counter()
    try:
        replies = sent = send()
    except BaseException as error:
        replies = [error] * count
        raise
    finally:
        seconds = time.perf_counter() - began
        for observer in OBSERVERS:
            observer(Sent(config, lane, seconds, replies))
    return sent
