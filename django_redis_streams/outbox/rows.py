"""A message as a row of the table, and a row as what is sent to the server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Protocol

from django.db.models import Q

from ..exceptions import InvalidMessage
from ..publishing.encoded import Call
from ..wire import Fields, excerpt
from .models import OutboxMessage

__all__ = ["COLUMNS", "DueRow", "entry_of", "named_by", "row_of", "values_of"]

_EXPECTED: Final = "expected a JSON list of texts, names and values in turns, the second of them the message's id"


# The columns that a message fills; the database and its defaults fill the others.
COLUMNS: Final = ("message_id", "stream", "lane", "key_hash", "entry", "delay_ms", "due_ms")


def values_of(call: Call, entry: Fields) -> tuple[str | int | None, ...]:
    """Return the value of each of `COLUMNS` for an entry of one call of `publish`."""
    due = call.due
    return (
        entry[1],
        call.config.name,
        call.lane,
        _hash(call.config.name, call.key) if call.key else None,
        json.dumps(entry, separators=(",", ":")),
        None if due is None or due.absolute else due.ms,
        due.ms if due is not None and due.absolute else None,
    )


def row_of(call: Call, entry: Fields) -> OutboxMessage:
    """Return the row, unsaved, for an entry of one call of `publish`."""
    return OutboxMessage(**dict(zip(COLUMNS, values_of(call, entry), strict=True)))


class DueRow(NamedTuple):
    """What the relay reads of a row; making models of a thousand rows would take it longer than sending them."""

    pk: int
    message_id: str
    stream: str
    lane: str
    key_hash: int | None
    entry: str
    delay_ms: int | None
    due_ms: int | None
    attempts: int


# With so many runs of ids, a list of them is shorter.
_RUNS: Final = 50


def named_by(ids: Iterable[int]) -> Q:
    """Return the condition that names these rows: by runs of ids where that is short, as databases are faster then."""
    runs: list[list[int]] = []
    named = sorted(ids)
    for each in named:
        if runs and runs[-1][1] == each - 1:
            runs[-1][1] = each
        else:
            runs.append([each, each])
    if len(runs) > _RUNS:
        # The range has databases use the index, also where they don't know yet how many rows there are.
        return Q(pk__in=named, pk__range=(named[0], named[-1]))
    found = Q(pk__in=())
    for first, last in runs:
        found |= Q(pk__range=(first, last))
    return found


class _Row(Protocol):
    @property
    def pk(self) -> int: ...
    @property
    def message_id(self) -> str: ...
    @property
    def entry(self) -> str: ...


def entry_of(row: _Row) -> Fields:
    """Return the fields that XADD takes. Raises `InvalidMessage` for what `row_of` didn't write."""
    try:
        entry: Any = json.loads(row.entry)
    except (ValueError, RecursionError) as error:
        raise _undecodable(row, f"{_EXPECTED} ({error})") from error
    if (
        not isinstance(entry, list)
        or not all(isinstance(each, str) for each in entry)
        or len(entry) % 2
        or entry[1:2] != [row.message_id]
    ):
        raise _undecodable(row, _EXPECTED)
    try:
        "".join(entry).encode()
    except UnicodeEncodeError as error:
        raise _undecodable(row, f"{_EXPECTED} ({error})") from error
    return entry


def _hash(stream: str, key: str) -> int:
    """Return a number for a key of a stream, as a column of 64 bits takes it."""
    digest = blake2b(f"{stream}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _undecodable(row: _Row, expected: str) -> InvalidMessage:
    return InvalidMessage(f"Row {row.pk} of the outbox has the entry {excerpt(row.entry)}: {expected}.")
