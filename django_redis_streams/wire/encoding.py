"""The fields that `publish()` appends. What can't be written exactly is refused here, before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from json import encoder as standard
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder

from ..exceptions import InvalidMessage, PayloadTooLarge
from ..message import Message
from .names import FLAT_ID

__all__ = ["encode"]

# Compact, since each byte is paid for in memory.
_encoder: Final = DjangoJSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def encode(message: Message, *, format: str = "json", max_payload: int) -> list[str]:  # noqa: A002
    """The fields of a message's entry, in `format` "json" (an envelope) or "flat".

    Raises `InvalidMessage` for what the format can't hold, `PayloadTooLarge` above `max_payload` bytes.
    """
    for name, value in (("type", message.type), ("key", message.key)):
        if value is not None and not isinstance(value, str):
            raise InvalidMessage(f"{name}={value!r}: expected text.")
    fields = _flat(message) if format == "flat" else _envelope(message)
    _check_size(fields, max_payload, message.stream)
    return fields


def _envelope(message: Message) -> list[str]:
    fields = ["id", message.id]
    if message.type:
        fields += ["type", _utf8(message.type, "type")]
    fields += ["data", _json(message.payload, "payload")]
    if message.key is not None:
        fields += ["key", _utf8(message.key, "key")]
    if message.headers:
        fields += ["headers", _json(dict(message.headers), "headers")]
    return fields


def _flat(message: Message) -> list[str]:
    payload = message.payload
    if not isinstance(payload, Mapping) or not payload:
        raise InvalidMessage(f"payload={payload!r}: FORMAT 'flat' takes a mapping with at least one key.")
    if message.key is not None or message.headers:
        raise InvalidMessage("FORMAT 'flat' has no field for key= and headers=; use FORMAT 'json'.")
    reserved = {FLAT_ID, "type"} if message.type else {FLAT_ID}
    if taken := reserved & set(payload):
        raise InvalidMessage(f"The payload's keys {sorted(taken)} are fields that FORMAT 'flat' sets itself.")
    fields = [FLAT_ID, message.id]
    if message.type:
        fields += ["type", _utf8(message.type, "type")]
    for name, value in payload.items():
        fields += [_flat_name(name), _flat_value(name, value)]
    return fields


def _flat_name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidMessage(f"The payload's key {name!r} is not text; a field's name is.")
    return _utf8(name, "a key of the payload")


def _flat_value(name: str, value: object) -> str:
    """Text as it is, a Decimal or datetime as Django's encoder writes it, a number, true or null as in JSON."""
    if isinstance(value, Mapping | AbstractSet) or (isinstance(value, Sequence) and not isinstance(value, str)):
        raise InvalidMessage(f"payload[{name!r}]={value!r}: FORMAT 'flat' takes no nested values; use 'json'.")
    text = _json(value, f"payload[{name!r}]")
    return str(json.loads(text)) if text.startswith('"') else text


def _kept(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """What `encoder.encode` does, in less than half the time: `encode` makes the encoder written in C at each call.

    Kept, it can't mark what it is in (two threads may be in the same), so it finds no circle and runs into its
    limit of depth. Whatever it raises, `encode` is asked, and that says what is wrong.
    """
    make: Any = getattr(standard, "c_make_encoder", None)
    if make is None:  # not CPython
        return encoder.encode
    colon, comma = encoder.key_separator, encoder.item_separator
    write = make(None, encoder.default, standard.encode_basestring, None, colon, comma, False, False, False)

    def encode(value: Any) -> str:
        try:
            return "".join(write(value, 0))
        except Exception:  # noqa: BLE001  said by the next line
            return encoder.encode(value)

    return encode


_encode_json: Final = _kept(_encoder)


def _json(value: Any, what: str) -> str:
    try:
        text = _encode_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(
            f"{what}: expected a JSON value or what DjangoJSONEncoder makes one of: {error}."
        ) from error
    return _utf8(text, what)


def _utf8(text: str, what: str) -> str:
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"{what} holds {text[error.start]!r}, half a character, which is no UTF-8.") from error
    return text


def _check_size(fields: Sequence[str], limit: int, stream: str) -> None:
    whole = "".join(fields)
    size = len(whole) if whole.isascii() else len(whole.encode())
    if size > limit:
        raise PayloadTooLarge(
            f"The message takes {size:,} bytes, above MAX_PAYLOAD of stream {stream!r} ({limit:,}). Publish a "
            "reference to what is stored elsewhere, or raise MAX_PAYLOAD."
        )
