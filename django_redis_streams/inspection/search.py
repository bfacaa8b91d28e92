"""Filters on rows that only reading can decide."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from .records import DeadLetter, MessageRecord, PendingMessage

__all__ = ["wanted"]

# Each word is looked for in thousands of rows.
_MOST_WORDS: Final = 20


def wanted(
    text: str,
    *,
    type: str | None,  # noqa: A002  the field's own name
    group: str | None = None,
    reason: str | None = None,
) -> Callable[[MessageRecord], bool] | None:
    """Return a function that decides which records are wanted; None where all are.

    Each word of `text` must be found somewhere in a row, ignoring case: in its ids, type, group, handler, reason,
    error, traceback, consumer or fields; the twentieth and the following count as one text. `reason` "" finds dead
    letters that this package didn't write.
    """
    words = [_spellings(word) for word in text.casefold().split(maxsplit=_MOST_WORDS - 1)]
    if not words and type is None and group is None and reason is None:
        return None

    def wants(row: MessageRecord) -> bool:
        if type not in (None, row.type) or group not in (None, row.group):
            return False
        if reason is not None and isinstance(row, DeadLetter) and row.reason != reason:
            return False
        text = _text(row) if words else ""
        return all(any(spelling in text for spelling in word) for word in words)

    return wants


def _spellings(word: str) -> set[str]:
    """Return a word as it is, and as JSON writes it in ASCII."""
    return {word, json.dumps(word)[1:-1]}


def _text(row: MessageRecord) -> str:
    told = [row.message_id, row.published_id, row.type, row.group, row.handler, row.error, row.traceback]
    if isinstance(row, DeadLetter):
        told += [row.entry_id, row.reason]
    if isinstance(row, PendingMessage):
        told.append(row.consumer)
    return "\n".join([*told, *(row.fields or ())]).casefold()
