"""Replacing the payload in the fields that a message was published with."""

from __future__ import annotations

from typing import Any

from ... import wire
from ...conf import StreamConfig
from ...wire import Fields

__all__ = ["with_payload"]


def with_payload(stream: StreamConfig, fields: Fields, payload: Any) -> Fields:
    """Return the fields of a message with another payload and everything else unchanged.

    An envelope takes any JSON value. Any other entry's fields are its payload, so it takes an object
    without nested values. Raises `InvalidMessage`, or `PayloadTooLarge` above the stream's MAX_PAYLOAD.
    """
    identity = "0" * 36
    if wire.is_envelope(fields):
        encoder = wire.EntryEncoder(stream=stream.name, max_payload=stream.max_payload)
        data = encoder.fields(identity, payload)[-1]
        names = fields[::2]
        return [
            text
            for name, value in zip(names, fields[1::2], strict=True)
            for text in (name, data if name == "data" else value)
        ]
    encoder = wire.EntryEncoder(stream=stream.name, format="flat", max_payload=stream.max_payload)
    kept = fields[:2] if wire.is_native_flat(fields) else ()
    return [*kept, *encoder.fields(identity, payload)[2:]]
