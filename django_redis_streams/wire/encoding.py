"""The fields that `publish()` appends. What can't be written exactly is refused here, before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from json import encoder as standard
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder

from ..exceptions import InvalidMessage, PayloadTooLarge
from .names import FLAT_ID

__all__ = ["Form"]

# Compact, since each byte is paid for in memory.
_encoder: Final = DjangoJSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False)


class Form:
    """What the entries of one call have in common: format, type, key and headers, checked and encoded once.

    Raises `InvalidMessage` for what the format can't hold.
    """

    def __init__(
        self,
        *,
        stream: str,
        format: str = "json",  # noqa: A002  the setting's word
        max_payload: int,
        type: str | None = None,  # noqa: A002  the message's word
        key: str | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value in (("type", type), ("key", key)):
            if value is not None and not isinstance(value, str):
                raise InvalidMessage(f"{name}={value!r}: expected text.")
        if format == "flat" and (key is not None or headers):
            raise InvalidMessage("FORMAT 'flat' has no field for key= and headers=; use FORMAT 'json'.")
        self._stream = stream
        self._flat = format == "flat"
        self._limit = max_payload
        self._type = ["type", _utf8(type, "type")] if type else []
        self._rest = [] if key is None else ["key", _utf8(key, "key")]
        if headers:
            self._rest += ["headers", _json(dict(headers), "headers")]
        self._size = _size(["id", "data", *self._type, *self._rest])

    def fields(self, identity: str, payload: Any) -> list[str]:
        """The fields of one entry; the second is `identity`.

        Raises `InvalidMessage` for a payload that the format can't hold, `PayloadTooLarge` above `max_payload` bytes.
        """
        if self._flat:
            fields = [FLAT_ID, identity, *self._type, *_flat(payload, typed=bool(self._type))]
            self._check(_size(fields))
            return fields
        text = _json(payload, "payload")
        self._check(self._size + len(identity) + (len(text) if text.isascii() else len(text.encode())))
        return ["id", identity, *self._type, "data", text, *self._rest]

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise PayloadTooLarge(
                f"The message takes {size:,} bytes, above MAX_PAYLOAD of stream {self._stream!r} ({self._limit:,}). "
                "Publish a reference to what is stored elsewhere, or raise MAX_PAYLOAD."
            )


def _flat(payload: Any, *, typed: bool) -> list[str]:
    if not isinstance(payload, Mapping) or not payload:
        raise InvalidMessage(f"payload={payload!r}: FORMAT 'flat' takes a mapping with at least one key.")
    reserved = {FLAT_ID, "type"} if typed else {FLAT_ID}
    if taken := reserved & set(payload):
        raise InvalidMessage(f"The payload's keys {sorted(taken)} are fields that FORMAT 'flat' sets itself.")
    fields = []
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


def _size(fields: Sequence[str]) -> int:
    return len("".join(fields).encode())
