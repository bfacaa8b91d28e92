"""What a person does about a consumer group: pause it, and resume it.

For the admin and for commands. A paused group isn't read by any worker, on whatever host; what its workers have
in hand they finish, and its messages wait on the server. It is kept there, so it outlives restarts.
"""

from __future__ import annotations

import logging

from . import conf, connections
from .conf import StreamConfig
from .connections import Link
from .store import groups as store

__all__ = ["is_paused", "pause", "resume"]

logger = logging.getLogger("django_redis_streams")


def pause(stream: str, group: str, *, by: str) -> bool:
    """Have no worker read a group's messages, from about a second from now on; whether it wasn't paused before.

    `by` says who, for the log. Raises `UnknownStream` for a stream or group that isn't declared,
    `ServerUnreachable`, and redis-py's `ResponseError`.
    """
    config, link = _place(stream, group)
    done = store.pause(link, config.keys, group)
    if done:
        _log("paused", stream, group, by)
    return done


def resume(stream: str, group: str, *, by: str) -> bool:
    """Have workers read a group's messages again; whether it was paused. Raises what `pause` raises."""
    config, link = _place(stream, group)
    done = store.resume(link, config.keys, group)
    if done:
        _log("resumed", stream, group, by)
    return done


def is_paused(stream: str, group: str) -> bool:
    """Whether a group is paused. Raises what `pause` raises."""
    config, link = _place(stream, group)
    return store.paused_since(link.call(*store.paused_command(config.keys, group))) is not None


def _place(stream: str, group: str) -> tuple[StreamConfig, Link]:
    config, _ = conf.stream(stream), conf.group(stream, group)
    return config, connections.get(config.connection)


def _log(what: str, stream: str, group: str, by: str) -> None:
    logger.info(
        "%s:%s was %s by %r.", stream, group, what, by, extra={"stream": stream, "group": group, "by": by}
    )  # fmt: skip
