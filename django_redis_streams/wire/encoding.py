"""The fields that `publish()` appends. What can't be written exactly is refused here, before anything is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import is_dataclass
from decimal import Decimal
from json import encoder as standard
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.utils.datastructures import MultiValueDict

from ..exceptions import InvalidMessage, PayloadTooLarge
from ..message import LONGEST_TYPE
from .faults import Fault, alike, first_fault, has_odd_dicts, merged_keys, multi_valued
from .names import FLAT_ID
from .showing import excerpt

__all__ = ["EntryEncoder"]

# Finds what the encoder writes for a key that isn't text: only if there is one can two keys be written alike. Searching
# what was written costs far less than looking at every key of a payload. The quotes that begin and end it are those of
# a key: within a text they are escaped.
_written_of_no_text: Final = re.compile(r'"(?=[-0-9tfn])(?:-?[0-9][-+.0-9e]*|true|false|null)":').search


class _Encoder(DjangoJSONEncoder):
    """Django's encoder, but for a Decimal that is no number: Django would write the text "NaN" or "Infinity".

    A subclass of Decimal may show itself otherwise; it is written as the number that it has.
    """

    def default(self, o: Any) -> Any:
        if not isinstance(o, Decimal):
            return super().default(o)
        if not Decimal.is_finite(o):
            raise ValueError("Out of range Decimal values are not JSON compliant")
        return Decimal.__str__(o)


# Compact, since each byte is paid for in memory.
_encoder: Final = _Encoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False)


class EntryEncoder:
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
                raise InvalidMessage(f"{name}={excerpt(value)}: expected text.")
        if type and len(type) > LONGEST_TYPE:
            raise InvalidMessage(
                f"type={type[:50]!r}… has {len(type):,} characters: expected at most {LONGEST_TYPE:,}. Put what a "
                "message is about into its payload, key or headers."
            )
        if format == "flat" and (key is not None or headers):
            raise InvalidMessage("FORMAT 'flat' has no field for key= and headers=; use FORMAT 'json'.")
        self._stream = stream
        self._flat = format == "flat"
        self._limit = max_payload
        self._type = ["type", _utf8(type, "type")] if type else []
        self._rest = [] if key is None else ["key", _utf8(key, "key")]
        if headers:
            if isinstance(headers, MultiValueDict):
                raise _multi_valued("headers", headers)
            self._rest += ["headers", _json(dict(headers), "headers")]
        self._size = _size(["id", "data", *self._type, *self._rest])

    def fields(self, identity: str, payload: Any) -> list[str]:
        """Return the fields of one entry; the second is `identity`.

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
        raise InvalidMessage(f"payload={excerpt(payload)}: FORMAT 'flat' takes a mapping with at least one key.")
    if isinstance(payload, MultiValueDict):
        raise _multi_valued("payload", payload)
    try:
        items = list(payload.items())
    except Exception as error:
        raise _unwritable(payload, "payload", error) from error
    names = [_flat_name(name) for name, _ in items]
    reserved = {FLAT_ID, "type"} if typed else {FLAT_ID}
    if taken := reserved.intersection(names):
        raise InvalidMessage(f"The payload's keys {sorted(taken)} are fields that FORMAT 'flat' sets itself.")
    if len(set(names)) < len(names) and (keys := alike((name for name, _ in items), _flat_name)):
        raise _merged("payload", *keys)
    fields = []
    for name, (_, value) in zip(names, items, strict=True):
        fields += [name, _flat_value(name, value)]
    return fields


def _flat_name(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidMessage(f"The payload's key {excerpt(name)} is not text; a field's name is.")
    return _utf8(str.__str__(name), "a key of the payload")


def _flat_value(name: str, value: object) -> str:
    """Return text as it is, a Decimal or datetime as Django's encoder writes it, a number, true or null as in JSON."""
    path = f"payload[{name!r}]"
    if isinstance(value, Mapping | AbstractSet) or (isinstance(value, Sequence) and not isinstance(value, str)):
        raise InvalidMessage(f"{path}={excerpt(value)}: FORMAT 'flat' takes no nested values; use 'json'.")
    text = _json(value, path)
    return str(json.loads(text)) if text.startswith('"') else text


# With what an encoder may write in different ways: order, spaces, what isn't ASCII, a type of Django's.
_SAMPLE: Final = {"ü": [1, 1.5, True, None, Decimal("1.10")], "a": {"\x00": "\u2028"}}


def _kept(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """Return a function like `encoder.encode`, but over twice as fast: that makes an encoder in C at each call.

    The one that is kept here can't mark which parts it is in (two threads may be in the same), so it finds no circle
    and runs into its limit of depth. Whatever it raises, `encode` is asked, and says what is wrong. It is no public
    part of Python: where it isn't there, takes other arguments or writes something else, `encode` itself is returned.
    """
    colon, comma = encoder.key_separator, encoder.item_separator
    try:
        make: Any = getattr(standard, "c_make_encoder")  # noqa: B009  typeshed doesn't know it
        write = make(None, encoder.default, standard.encode_basestring, None, colon, comma, False, False, False)
        fits = "".join(write(_SAMPLE, 0)) == encoder.encode(_SAMPLE)
    except Exception:  # noqa: BLE001  whatever is different
        fits = False
    if not fits:
        return encoder.encode

    def encode(value: Any) -> str:
        try:
            return "".join(write(value, 0))
        except Exception:  # noqa: BLE001  said by the next line
            return encoder.encode(value)

    return encode


_encode_json: Final = _kept(_encoder)


def _json(value: Any, what: str) -> str:
    """Return a value as JSON. Raises `InvalidMessage` for whatever can't be written, with its path in the value."""
    try:
        text = _write(value)
        odd = has_odd_dicts(value)
        several = multi_valued(value, what) if odd else None
        keys = merged_keys(value, what, _write) if odd or _written_of_no_text(text) else None
    except Exception as error:
        raise _unwritable(value, what, error) from error
    if several is not None:
        raise _multi_valued(*several)
    if keys is not None:
        raise _merged(*keys)
    return text


def _write(value: Any) -> str:
    text = _encode_json(value)
    text.isascii() or text.encode()
    return text


def _unwritable(value: Any, what: str, error: Exception) -> InvalidMessage:
    fault: Fault | None = None
    # A circle, or too much depth, is in no single part. If looking for the fault raises too, it isn't found.
    if not isinstance(error, RecursionError) and "Circular" not in str(error):
        with suppress(Exception):
            fault = first_fault(value, what, _write)
    if fault is None:
        fault = Fault(what, value, error)
    return InvalidMessage(f"{fault.path}={excerpt(fault.part)}: {_reason(fault.part, fault.error)}")


def _reason(part: Any, error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return f"holds {error.object[error.start]!r}, half a character, which is no UTF-8."
    if isinstance(error, ValueError) and isinstance(part, float | Decimal):
        return "JSON has neither NaN nor infinity. Publish None instead, or a text that your handlers know."
    instead = ""
    with suppress(Exception):  # a part may raise whatever it is asked
        instead = _instead(part)
    return f"expected a JSON value or what DjangoJSONEncoder makes one of: {error}.{instead and f' {instead}'}"


def _instead(part: object) -> str:
    """Return a sentence that says what to publish in place of a value, or "" where nobody can know."""
    if hasattr(part, "_meta") and hasattr(part, "pk"):
        return "Publish its .pk, or the fields that handlers need."
    if hasattr(part, "model_dump"):
        return "Publish its .model_dump(mode='json')."
    if is_dataclass(part):
        return "Publish its dataclasses.asdict(…)."
    if isinstance(part, bytes | bytearray | memoryview):
        return "Publish its .decode(), or base64 of it where it is no text."
    if isinstance(part, Iterable) and not isinstance(part, Mapping | str | list | tuple):
        return "Publish list(…) of it."
    return ""


def _multi_valued(path: str, part: object) -> InvalidMessage:
    return InvalidMessage(
        f"{path}={excerpt(part)}: holds a list of values for each key, of which the last alone would arrive. Write "
        ".dict() behind it for the last ones, or dict(….lists()) for all."
    )


def _merged(path: str, first: object, second: object) -> InvalidMessage:
    return InvalidMessage(
        f"{path} has the keys {excerpt(first)} and {excerpt(second)}, which JSON writes alike: one of the two values "
        "would be lost. Make the keys differ as text."
    )


def _utf8(text: str, what: str) -> str:
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"{what} holds {text[error.start]!r}, half a character, which is no UTF-8.") from error
    return text


def _size(fields: Sequence[str]) -> int:
    return len("".join(fields).encode())
