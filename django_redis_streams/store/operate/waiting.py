"""What is done by hand to messages that wait: retries, delayed messages, stale pending entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...conf import GroupConfig, StreamConfig
from ...connections import Link
from ..publish.append import hard_bound
from ..replies import group_is_gone
from ..scripts import exchange, script

__all__ = ["discard_delayed", "discard_retries", "publish_delayed", "release"]


def discard_retries(link: Link, stream: StreamConfig, group: str, tokens: Sequence[str]) -> list[Any]:
    """Delete retries of a group; return for each 1 where it was there, 0 where it was gone, or the server's error."""
    keys = stream.keys
    names = [keys.main, keys.retry(group), keys.retry_entries(group), keys.totals(group)]
    return exchange(link, [script("discard_retry")(names, token) for token in tokens])


def discard_delayed(link: Link, stream: StreamConfig, tokens: Sequence[str]) -> list[Any]:
    """Delete delayed messages; return for each 1 where it was there, 0 where it was gone, or the server's error."""
    return exchange(link, [script("discard_delayed")(_delayed(stream), token) for token in tokens])


def publish_delayed(link: Link, stream: StreamConfig, tokens: Sequence[str]) -> list[Any]:
    """Append delayed messages now, within HARD_MAXLEN.

    Returns for each 1 where it was there, 0 where it was gone, or the server's error.
    """
    words = [stream.keys.lane(""), *hard_bound(stream), *stream.lane_names]
    return exchange(link, [script("publish_delayed")(_delayed(stream), token, *words) for token in tokens])


def release(link: Link, stream: StreamConfig, group: GroupConfig, entries: Sequence[tuple[str, str, str]]) -> list[Any]:
    """Hand back pending entries, each (key, entry id, consumer), that are idle for at least CLAIM_IDLE.

    Returns for each 1 where it was handed back, 0 where it isn't pending like that any more, -1 where its body is gone
    and it was acknowledged, or the server's error.
    """
    idle = max(1, round(group.claim_idle * 1000))
    sides = [stream.keys.totals(group.name), stream.keys.notices]
    replies = exchange(
        link,
        [script("release")([key, *sides], group.name, entry_id, consumer, idle) for key, entry_id, consumer in entries],
    )
    return [0 if isinstance(reply, Exception) and group_is_gone(reply) else reply for reply in replies]


def _delayed(stream: StreamConfig) -> list[str]:
    keys = stream.keys
    return [keys.main, keys.delayed, keys.delayed_entries]
