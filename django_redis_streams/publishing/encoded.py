"""A message with its entry's fields, made at the call: what happens to the payload afterwards changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .. import wire
from ..conf import StreamConfig
from ..exceptions import InvalidMessage
from ..message import Message, new_id

__all__ = ["Encoded", "encode", "encode_each"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message and the fields of its entry: whatever its payload's owner does to it now."""

    message: Message
    fields: list[str]

    def as_sent(self, entry_id: str = "") -> Message:
        """The message as it is on the wire: its payload and headers may have been changed since."""
        message = self.message
        sent = wire.decode(wire.Origin(stream=message.stream, group="", key=message.stream), "0-0", self.fields)
        return Message(
            id=message.id,
            stream=message.stream,
            type=message.type,
            payload=sent.payload,
            key=message.key,
            headers=sent.headers,
            time=message.time,
            entry_id=entry_id,
        )


def encode(
    config: StreamConfig,
    payload: Any,
    type: str | None,  # noqa: A002  as above
    key: str | None,
    headers: Mapping[str, Any] | None,
) -> Encoded:
    """The message for one payload. Raises `InvalidMessage` or `PayloadTooLarge`."""
    _check_headers(headers)
    message = Message(
        id=new_id(),
        stream=config.name,
        type="" if type is None else type,
        payload=payload,
        key=key,
        headers=headers,
    )
    return Encoded(message, wire.encode(message, format=config.format, max_payload=config.max_payload))


def _check_headers(headers: object) -> None:
    if headers is None or (isinstance(headers, Mapping) and all(isinstance(name, str) for name in headers)):
        return
    raise InvalidMessage(f"headers={headers!r}: expected a dict with texts as its keys.")


def encode_each(config: StreamConfig, payloads: Iterable[Any], *arguments: Any) -> Iterator[Encoded]:
    """The messages for some payloads. The errors name the index of the payload."""
    for index, payload in enumerate(payloads):
        try:
            encoded = encode(config, payload, *arguments)
        except InvalidMessage as error:
            raise type(error)(f"payloads[{index}]: {error}") from error
        yield encoded
