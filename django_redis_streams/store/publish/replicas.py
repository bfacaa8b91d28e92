"""Whether as many replicas as MIN_REPLICAS asks for have what was just sent: WAIT, behind it on the same connection.

The server answers a WAIT when so many replicas have acknowledged all that this connection has written, or when its
time is over (https://redis.io/docs/latest/commands/wait/).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...exceptions import NotReplicated, StreamsError
from ..scripts import Command

__all__ = ["wait", "with_replicas", "words_of_wait"]

# In seconds: for so long after a whole REPLICA_TIMEOUT was in vain, the next of this process wait for a part of it.
# A thousand messages of one transaction would else wait for all of it, a thousand times.
_BELIEVED: Final = 0.5
_PART: Final = 1 / 20
# By name of a stream's connection: until when that is believed, on the monotonic clock.
_in_vain: Final[dict[str, float]] = {}


def wait(least: int, seconds: float) -> Command:
    """Return the command that waits until `least` replicas have what this connection has written, for so many seconds.

    Its reply is how many have. A time of 0 would be for ever, so the shortest is a millisecond.
    """
    return "WAIT", least, max(1, round(seconds * 1000))


def words_of_wait(stream: StreamConfig) -> Sequence[Command]:
    """Return the command that waits for the replicas of a stream with MIN_REPLICAS; none without."""
    if stream.min_replicas is None:
        return ()
    now, seconds = time.monotonic(), stream.replica_timeout
    if now < _in_vain.get(stream.connection, 0.0):
        seconds *= _PART
    return (wait(stream.min_replicas, seconds),)


def with_replicas(
    stream: StreamConfig, sent: Sequence[str | StreamsError], reply: int | ResponseError
) -> Sequence[str | StreamsError]:
    """Return what was sent as the reply to its WAIT leaves it: as it was, or each entry's id as `NotReplicated`."""
    least = stream.min_replicas
    if least is None or (isinstance(reply, int) and reply >= least):
        return sent
    if isinstance(reply, int):
        now = time.monotonic()
        # Not prolonged by those that waited for a part: a whole one is tried again.
        if now >= _in_vain.get(stream.connection, 0.0):
            _in_vain[stream.connection] = now + _BELIEVED
        why = f"{reply} of MIN_REPLICAS {least} acknowledged it within REPLICA_TIMEOUT {stream.replica_timeout:g} s"
    else:
        why = f"the server doesn't tell whether its replicas have it, as it refuses WAIT: {reply}"
    said = f"The message is on the server of stream {stream.name!r}, but {why}. It arrives, unless a failover loses it."
    return [NotReplicated(said, each) if isinstance(each, str) else each for each in sent]
