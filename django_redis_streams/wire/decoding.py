"""A message from an entry's fields. Nothing that arrives raises anything but `Undecodable`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final, NamedTuple, NoReturn, Protocol

from ..keys import DEFAULT_LANE, token
from ..message import NO_HEADERS, Message, filled
from .names import ENVELOPE, FLAT_ID, Fields, are_uuids, is_uuid
from .redelivery import RedeliveryMetadata

__all__ = [
    "Entry",
    "Origin",
    "Undecodable",
    "decode",
    "decode_all",
    "decode_as_foreign",
    "decode_entry",
    "is_envelope",
    "is_native_flat",
    "message_id",
]

# How many fields and values there are where publish() got no option, or only a type.
_ID_DATA = 4
_ID_TYPE_DATA = 6
# These run in C, as hundreds of entries are asked.
_fields: Final = attrgetter("fields")
_metadata: Final = attrgetter("metadata")
# In characters: parsing more costs so much by itself that joining the texts saves nothing, but costs memory.
_MOST_TOGETHER = 1_000_000
_WORD = secrets.token_hex()
_BETWEEN = f',"{_WORD}",'


class Undecodable(ValueError):
    """An entry that says it is an envelope and isn't one; the text says why."""

    # A message has its type here, so one look tells the two apart.
    type: Final = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What all entries read from one key for one group share. `key` is the main stream or lane."""

    stream: str
    group: str
    key: str
    lane: str = DEFAULT_LANE


class Entry(Protocol):
    """An entry as it was delivered; `metadata` where it came by the redelivery stream."""

    origin: Origin
    entry_id: str
    fields: Fields
    metadata: RedeliveryMetadata | None

    @property
    def published_id(self) -> str:
        """The id of the entry that was published."""


def decode_all(entries: Sequence[Entry]) -> list[Message | Undecodable]:
    """Return the message that each entry holds; where it can't be decoded, the error stands in its place, not raised.

    As `decode_entry`, but entries that publish() wrote without options but a type, as nearly all are, are decoded
    together, in a third of the time.
    """
    if len(entries) == 1:
        return [_decoded_or_error(entries[0])]
    together = _decoded_together(entries)
    if together is not None:
        return together
    messages: list[Any] = [None] * len(entries)
    for size in (_ID_DATA, _ID_TYPE_DATA):
        numbers = [at for at, each in enumerate(entries) if len(each.fields) == size and _plain([each])]
        for at, message in zip(numbers, _decoded_together([entries[at] for at in numbers]) or (), strict=False):
            messages[at] = message
    return [message or _decoded_or_error(entry) for message, entry in zip(messages, entries, strict=True)]


def _decoded_together(entries: Sequence[Entry]) -> list[Any] | None:
    """Return the messages of plain entries of one shape; None where they aren't such, or one isn't JSON."""
    columns = _plain(entries)
    payloads = columns and _payloads(columns.payloads)
    if columns is None or payloads is None:
        return None
    origin, stream, group, lane = None, "", "", ""
    messages = []
    for entry, identity, type_, payload in zip(entries, columns.ids, columns.types, payloads, strict=True):
        if entry.origin is not origin:
            origin = entry.origin
            stream, group, lane = origin.stream, origin.group, origin.lane
        messages.append(
            filled(identity, stream, type_, payload, None, NO_HEADERS, None, group, lane, 1, entry.entry_id)
        )
    return messages


class _Columns(NamedTuple):
    """The id, type and payload of each of some plain entries."""

    ids: Sequence[str]
    types: Sequence[str]
    payloads: Sequence[str]


def _plain(entries: Sequence[Entry]) -> _Columns | None:
    """Return the columns of entries that publish() wrote without options, all with a type or none; else None."""
    rows, count = list(map(_fields, entries)), len(entries)
    sizes = set(map(len, rows))
    if sizes == {_ID_DATA}:
        id_names, ids, data_names, payloads = zip(*rows, strict=True)
        types = ("",) * count
    elif sizes == {_ID_TYPE_DATA}:
        id_names, ids, type_names, types, data_names, payloads = zip(*rows, strict=True)
        if type_names.count("type") < count or not _is_utf8("".join(types)):
            return None
    else:
        return None
    named = id_names.count("id") == count == data_names.count("data")
    redelivered = any(map(_metadata, entries))
    return _Columns(ids, types, payloads) if named and not redelivered and are_uuids(ids) else None


def _payloads(texts: Sequence[str]) -> list[Any] | None:
    """Return the values of these texts, parsed as one array; None where that can't be told for sure, or isn't worth it.

    No text can borrow from its neighbour, as `[1` and `2]` would: between each two stands a word that nobody outside
    knows, and the parsed array must have as many of these words as were put in, each in its place.
    """
    if sum(map(len, texts)) > _MOST_TOGETHER:
        return None
    array = f"[{_BETWEEN.join(texts)}]"
    try:
        values, end = _scan(array, 0)
    except (ValueError, StopIteration, RecursionError):
        return None
    count = len(texts)
    apart = len(values) == 2 * count - 1 and values[1::2].count(_WORD) == count - 1
    return values[::2] if apart and end == len(array) and _is_utf8(array) else None


def _decoded_or_error(entry: Entry) -> Message | Undecodable:
    try:
        return decode(entry.origin, entry.published_id, entry.fields, entry.metadata)
    except Undecodable as error:
        return error.with_traceback(None)


def decode_entry(entry: Entry) -> Message:
    """Return the message of an entry as it was delivered. Raises `Undecodable`."""
    return decode(entry.origin, entry.published_id, entry.fields, entry.metadata)


def decode(origin: Origin, entry_id: str, fields: Fields, metadata: RedeliveryMetadata | None = None) -> Message:
    """Return the message that an entry holds; `metadata` where it came by the redelivery stream.

    `fields` are the original ones, `entry_id` the id they were published with. Raises `Undecodable`.
    """
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    envelope = _is_envelope(fields, values)
    identity = metadata.id if metadata else (envelope and values.get("id")) or _other_id(origin.key, entry_id, fields)
    opened = _opened(values) if envelope else None
    return _delivered(origin, identity, entry_id, metadata, opened or _foreign(fields, values))


def decode_as_foreign(
    origin: Origin, entry_id: str, fields: Fields, metadata: RedeliveryMetadata | None = None
) -> Message:
    """Return the message of an entry that `decode` can't decode: its fields are taken as they are."""
    identity = metadata.id if metadata else message_id(origin.key, entry_id, fields)
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return _delivered(origin, identity, entry_id, metadata, _foreign(fields, values))


def _delivered(
    origin: Origin, identity: str, entry_id: str, metadata: RedeliveryMetadata | None, opened: Mapping[str, Any]
) -> Message:
    return Message(
        id=identity,
        stream=origin.stream,
        group=origin.group,
        lane=origin.lane,
        entry_id=entry_id,
        attempt=metadata.attempt + 1 if metadata else 1,
        **opened,
    )


def message_id(key: str, entry_id: str, fields: Fields) -> str:
    """Return the id of an entry's message, decodable or not.

    Only ids that `publish()` gives are taken from the fields: a foreign order number must never pass for a
    message id, or idempotent handlers would swallow messages.
    """
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return (_is_envelope(fields, values) and values.get("id")) or _other_id(key, entry_id, fields)


def is_envelope(fields: Fields) -> bool:
    """Return whether an entry says that it is an envelope; what its fields hold may be wrong."""
    return _is_envelope(fields, dict(zip(fields[::2], fields[1::2], strict=True)))


def is_native_flat(fields: Fields) -> bool:
    """Return whether an entry was published in the format `flat`."""
    return len(fields) > 1 and fields[0] == FLAT_ID and is_uuid(fields[1])


def _other_id(key: str, entry_id: str, fields: Fields) -> str:
    return fields[1] if is_native_flat(fields) else token(key, entry_id)


def _is_envelope(fields: Fields, values: Mapping[str, str]) -> bool:
    if "data" not in values or len(values) * 2 != len(fields) or not values.keys() <= ENVELOPE:
        return False
    return "id" not in values or is_uuid(values["id"])


def _opened(values: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what an envelope holds, as arguments of `Message`; None for a foreign entry that only looks like one."""
    opened: dict[str, Any] = {}
    try:
        if "type" in values:
            opened["type"] = _utf8(values["type"], "type")
        opened["payload"] = _json(values["data"], "data")
        if "key" in values:
            opened["key"] = _utf8(values["key"], "key")
        if "headers" in values:
            opened["headers"] = _headers(values["headers"])
        if "time" in values:
            opened["time"] = _time(values["time"])
    except Undecodable:
        if "id" in values:
            raise
        return None
    return opened


def _foreign(fields: Fields, values: Mapping[str, str]) -> dict[str, Any]:
    """Return what a foreign entry holds, as arguments of `Message`: its fields as text."""
    native = is_native_flat(fields)
    payload = {_text(name): _text(value) for name, value in values.items() if not (native and name == FLAT_ID)}
    return {"type": _text(values.get("type", "")), "payload": payload}


def _json(text: str, what: str) -> Any:
    try:
        value, end = _scan(text, 0)
        if end == len(text) and text.isascii():
            return value
    except (ValueError, StopIteration, RecursionError):
        pass
    # White space around it, letters beyond ASCII, or an error: the slower way tells which.
    _utf8(text, what)
    try:
        return _decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"The field {what!r} is not JSON: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


# Kept: making a decoder costs more than most decodings.
_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
# What the decoder calls, written in C: it stops where the value ends, and raises StopIteration where there is none.
_scan: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once  # type: ignore[attr-defined]  # not in its stub


def _headers(text: str) -> Mapping[str, Any]:
    headers = _json(text, "headers")
    if not isinstance(headers, dict):
        raise Undecodable(f"The field 'headers' is not a JSON object: {text[:200]!r}")
    return headers


def _time(text: str) -> datetime:
    """Return a time that is written by RFC 3339, as CloudEvents has it; without an offset it is taken for UTC."""
    try:
        given = datetime.fromisoformat(text)
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Undecodable(f"The field 'time' is not an RFC 3339 time: {text[:200]!r}") from error


def _utf8(text: str, what: str) -> str:
    if not _is_utf8(text):
        raise Undecodable(f"The field {what!r} is not UTF-8")
    return text


def _is_utf8(text: str) -> bool:
    """Return whether a text came as UTF-8: other bytes are surrogates in it."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _text(text: str) -> str:
    """Return text that can be stored and shown: bytes that aren't UTF-8 become U+FFFD. The raw fields keep them."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
