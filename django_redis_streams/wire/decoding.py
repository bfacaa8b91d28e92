"""A message from an entry's fields. Nothing that arrives raises anything but `Undecodable`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from ..keys import DEFAULT_LANE, token
from ..message import NO_HEADERS, Draft, Message
from .carried import Carried
from .names import ENVELOPE, FLAT_ID, Fields, are_uuids, is_uuid

__all__ = [
    "Entry",
    "Origin",
    "Undecodable",
    "decode",
    "decode_all",
    "decode_as_foreign",
    "decode_entry",
    "is_envelope",
    "is_flat_of_ours",
    "message_id",
]

_ID_DATA = 4
_ID_TYPE_DATA = 6


class Undecodable(ValueError):
    """An entry that says it is an envelope and isn't one; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What all entries read from one key for one group share. `key` is the main stream or lane."""

    stream: str
    group: str
    key: str
    lane: str = DEFAULT_LANE


class Entry(Protocol):
    """An entry as it was delivered; `carried` where it came by the redelivery stream."""

    origin: Origin
    entry_id: str
    fields: Fields
    carried: Carried | None

    @property
    def published_id(self) -> str:
        """The id of the entry that was published."""


def decode_all(entries: Sequence[Entry]) -> list[Message | Undecodable]:
    """The message that each entry holds; where it can't be decoded, the error stands in its place, not raised.

    As `decode_entry`, but with a short way for what publish() writes where no option but a type was given: nearly all
    that ever comes.
    """
    scan, origin, stream, group, lane = _scan, None, "", "", ""
    # What has another shape goes the long way, whatever stands there.
    trusted = are_uuids([fields[1] for each in entries if len(fields := each.fields) in {_ID_DATA, _ID_TYPE_DATA}])
    messages: list[Any] = []
    for entry in entries:
        fields = entry.fields
        size = len(fields)
        plain = (size == _ID_DATA and fields[2] == "data") or (
            size == _ID_TYPE_DATA and fields[2] == "type" and fields[4] == "data" and fields[3].isascii()
        )
        text, end = fields[-1] if fields else "", -1
        if plain and fields[0] == "id" and entry.carried is None and text.isascii() and (trusted or is_uuid(fields[1])):
            try:  # noqa: SIM105  suppress() costs as much as the rest
                payload, end = scan(text, 0)
            except (ValueError, StopIteration, RecursionError):
                pass
        if end != len(text):
            messages.append(_decoded_or_error(entry))
            continue
        if entry.origin is not origin:
            origin = entry.origin
            stream, group, lane = origin.stream, origin.group, origin.lane
        message = Draft()
        message.id = fields[1]
        message.stream = stream
        message.payload = payload
        message.type = fields[3] if size == _ID_TYPE_DATA else ""
        message.key = None
        message.headers = NO_HEADERS
        message.given_time = None
        message.group = group
        message.lane = lane
        message.attempt = 1
        message.entry_id = entry.entry_id
        message.asked = None
        message.__class__ = Message
        messages.append(message)
    return messages


def _decoded_or_error(entry: Entry) -> Message | Undecodable:
    try:
        return decode_entry(entry)
    except Undecodable as error:
        return error.with_traceback(None)


def decode_entry(entry: Entry) -> Message:
    """The message of an entry as it was delivered. Raises `Undecodable`."""
    return decode(entry.origin, entry.published_id, entry.fields, entry.carried)


def decode(origin: Origin, entry_id: str, fields: Fields, carried: Carried | None = None) -> Message:
    """The message that an entry holds; `carried` where it came by the redelivery stream.

    `fields` are the original ones, `entry_id` the id they were published with. Raises `Undecodable`.
    """
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    opened = _opened(values) if _is_envelope(fields, values) else None
    return _delivered(origin, entry_id, fields, carried, opened or _foreign(fields, values))


def decode_as_foreign(origin: Origin, entry_id: str, fields: Fields, carried: Carried | None = None) -> Message:
    """The message that an entry holds where its fields are taken as they are; for what `decode` can't decode."""
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return _delivered(origin, entry_id, fields, carried, _foreign(fields, values))


def _delivered(
    origin: Origin, entry_id: str, fields: Fields, carried: Carried | None, opened: Mapping[str, Any]
) -> Message:
    return Message(
        id=carried.id if carried else message_id(origin.key, entry_id, fields),
        stream=origin.stream,
        group=origin.group,
        lane=origin.lane,
        entry_id=entry_id,
        attempt=carried.attempt + 1 if carried else 1,
        **opened,
    )


def message_id(key: str, entry_id: str, fields: Fields) -> str:
    """The id of an entry's message, decodable or not.

    Only ids that `publish()` gives are taken from the fields: a foreign order number must never pass for a
    message id, or idempotent handlers would swallow messages.
    """
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return (_is_envelope(fields, values) and values.get("id")) or _other_id(key, entry_id, fields)


def is_envelope(fields: Fields) -> bool:
    """Whether an entry says that it is an envelope; what its fields hold may be wrong."""
    return _is_envelope(fields, dict(zip(fields[::2], fields[1::2], strict=True)))


def is_flat_of_ours(fields: Fields) -> bool:
    """Whether an entry was published in the format `flat`."""
    return len(fields) > 1 and fields[0] == FLAT_ID and is_uuid(fields[1])


def _other_id(key: str, entry_id: str, fields: Fields) -> str:
    return fields[1] if is_flat_of_ours(fields) else token(key, entry_id)


def _is_envelope(fields: Fields, values: Mapping[str, str]) -> bool:
    if "data" not in values or len(values) * 2 != len(fields) or not values.keys() <= ENVELOPE:
        return False
    return "id" not in values or is_uuid(values["id"])


def _opened(values: Mapping[str, str]) -> dict[str, Any] | None:
    """What an envelope holds, as arguments of `Message`; None for a foreign entry that only looks like one."""
    try:
        return {
            "type": _utf8(values.get("type", ""), "type"),
            "payload": _json(values["data"], "data"),
            "key": _utf8(values["key"], "key") if "key" in values else None,
            "headers": _headers(values["headers"]) if "headers" in values else None,
            "time": _time(values["time"]) if "time" in values else None,
        }
    except Undecodable:
        if "id" in values:
            raise
        return None


def _foreign(fields: Fields, values: Mapping[str, str]) -> dict[str, Any]:
    """What an entry holds that isn't an envelope: its fields as text."""
    ours = is_flat_of_ours(fields)
    payload = {_text(name): _text(value) for name, value in values.items() if not (ours and name == FLAT_ID)}
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
    """RFC 3339, as CloudEvents has it; a time without an offset is taken for UTC."""
    try:
        given = datetime.fromisoformat(text)
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Undecodable(f"The field 'time' is not an RFC 3339 time: {text[:200]!r}") from error


def _utf8(text: str, what: str) -> str:
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        raise Undecodable(f"The field {what!r} is not UTF-8") from error
    return text


def _text(text: str) -> str:
    """Text that can be stored and shown: bytes that aren't UTF-8 become U+FFFD. The raw fields keep them."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
