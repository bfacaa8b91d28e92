"""Which messages that were on a server aren't there any more, and weren't trimmed either: the server has lost them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from ...connections import Link
from ...keys import EntryId, StreamKeys
from ..consume.asking import ask_each
from ..consume.clock import server_time
from ..replies import pairs
from ..scripts import exchange
from .bounded import HEADS, entries_of, named
from .entries import onward

__all__ = ["Delayed", "missing_delayed", "missing_entries"]

# In ms: so much longer ago than it seems a message may have been appended.
_MARGIN_MS = 10_000
_ALL = 1 << 40


class Delayed(NamedTuple):
    """A delayed message, kept on the server `age_ms` ago; due in `due_in_ms`, or at `due_ms` since 1970."""

    message_id: str
    age_ms: int
    due_in_ms: int | None
    due_ms: int | None


def missing_entries(link: Link, key: str, entries: Sequence[tuple[str, str]]) -> set[str]:
    """Return the ids of the messages that a stream has lost; each of `entries` is the entry's id and the message's.

    An entry below the first one was trimmed, and one of a stream that is empty since. What was deleted by hand can't
    be told from what was lost.
    """
    replies = exchange(link, [named(key, [entry_id], HEADS) for entry_id, _ in entries])
    absent = [each for each, reply in zip(entries, replies, strict=True) if not _is_there(reply, each[1])]
    if not absent:
        return set()
    # Asked for after the entries: what was trimmed in between is below the first one by now.
    span = _span(link, key)
    return {message_id for entry_id, message_id in absent if span is None or not span.trimmed(EntryId.of(entry_id))}


def missing_delayed(link: Link, keys: StreamKeys, key: str, messages: Sequence[Delayed]) -> set[str]:
    """Return the ids of those delayed messages that neither wait nor were appended to the stream `key` since.

    What was due before the first entry there was appended, and trimmed since.
    """
    replies = ask_each(link, [["HEXISTS", keys.delayed_entries, each.message_id] for each in messages])
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
    absent = {each.message_id: each for each, reply in zip(messages, replies, strict=True) if not reply}
    if not absent:
        return set()
    now = server_time(link.at(key))
    oldest = now - max(each.age_ms for each in absent.values()) - _MARGIN_MS
    for entry in onward(link, key, f"{max(0, oldest)}-0", _ALL):
        if entry.fields[1:2] and entry.fields[1] in absent:
            del absent[entry.fields[1]]
    span = _span(link, key)
    return {name for name, each in absent.items() if span is None or not span.trimmed(_due(each, now), now)}


class _Span(NamedTuple):
    """The first id of a stream, None where it is empty; and the last that it ever had."""

    first: EntryId | None
    last: EntryId

    def trimmed(self, entry: EntryId, now: int | None = None) -> bool:
        """Return whether an entry that isn't there was trimmed; `now` is the server's time where `entry` is a guess."""
        if now is not None and entry.milliseconds > now:
            return False
        return entry <= self.last and (self.first is None or entry < self.first)


def _span(link: Link, key: str) -> _Span | None:
    """Return what is known of a stream; None where it isn't there."""
    try:
        found = pairs(link.call("XINFO", "STREAM", key))
    except ResponseError as error:
        if "no such key" in str(error):
            return None
        raise
    first = found["first-entry"]
    return _Span(EntryId.of(first[0]) if first else None, EntryId.of(found["last-generated-id"]))


def _due(message: Delayed, now: int) -> EntryId:
    if message.due_in_ms is not None:
        return EntryId(now + message.due_in_ms, 0)
    return EntryId(message.due_ms or 0, 0)


def _is_there(reply: Any, message_id: str) -> bool:
    if isinstance(reply, ResponseError):
        raise reply
    (found,) = entries_of(reply).found
    return found is not None and found.fields[1:2] == [message_id]
