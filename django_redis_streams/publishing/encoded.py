"""The entries of one call, made at the call: what happens to a payload afterwards changes nothing.

A message is made of an entry only where somebody gets to see it: a `Message` costs as much as its encoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from .. import wire
from ..conf import StreamConfig, nearest
from ..exceptions import InvalidMessage
from ..keys import DEFAULT_LANE
from ..message import NO_HEADERS, Message, filled, made_at, new_id, new_ids
from ..store.publish.delay import Due
from ..wire import Fields

__all__ = ["Call"]


class Call:
    """One call of `publish` or `publish_many`: its stream and lane, and what all its messages share.

    That is type, key, headers, and when they are `due`; None is now.

    Raises `InvalidMessage` for a lane, type, key or headers that can't be.
    """

    def __init__(
        self,
        config: StreamConfig,
        type: str | None,  # noqa: A002  the message's own word for it
        key: str | None,
        headers: Mapping[str, Any] | None,
        lane: str | None = None,
        *,
        due: Due | None = None,
    ) -> None:
        _check_headers(headers)
        self.due = due
        self.config = config
        self.lane = DEFAULT_LANE if lane is None else _declared(config, lane)
        self.key = key
        self._type, self._headers = type or "", headers
        self._encoder = wire.EntryEncoder(
            stream=config.name,
            format=config.format,
            max_payload=config.max_payload,
            type=type,
            key=key,
            headers=headers,
        )

    def one(self, payload: Any) -> Fields:
        """Return the entry for one payload. Raises `InvalidMessage` or `PayloadTooLarge`."""
        return self._timed(self._encoder.fields(new_id(), payload))

    def message(self, fields: Fields, payload: Any) -> Message:
        """Return the message for one payload, whose entry has these fields."""
        # Without a time: it is the id's, and nearly nobody asks for it.
        return self._message(fields, payload, self._headers)

    def each(self, payloads: Iterable[Any]) -> Iterator[Fields]:
        """Yield the entry for each payload; an error names the index of its payload."""
        encode = self._encoder.fields
        for index, (payload, identity) in enumerate(zip(payloads, new_ids(), strict=False)):
            try:
                fields = self._timed(encode(identity, payload))
            except InvalidMessage as error:
                raise type(error)(f"payloads[{index}]: {error}") from error
            yield fields

    def _timed(self, fields: list[str]) -> list[str]:
        if self.due is None:
            return fields
        # A delayed entry's own id tells when it was due. A flat entry is nothing but the payload: it has no field for
        # the time of the call.
        if self.config.format != "flat":
            return [*fields, "time", made_at(fields[1]).isoformat()]
        if len(fields) > wire.MOST_FIELDS:
            raise InvalidMessage(
                f"The message has {len(fields) // 2:,} fields, its id among them; one that is published later may have "
                f"{wire.MOST_FIELDS // 2:,} at most. Publish it without a delay, or on a stream of FORMAT 'json'."
            )
        return fields

    def as_sent(self, fields: Fields, entry_id: str = "") -> Message:
        """Return the message as it is on the wire: its payload and headers may have been changed since."""
        name = self.config.name
        sent = wire.decode(wire.Origin(stream=name, group="", key=name), "0-0", fields)
        return self._message(fields, sent.payload, sent.headers, made_at(fields[1]), entry_id)

    def _message(
        self,
        fields: Fields,
        payload: Any,
        headers: Mapping[str, Any] | None,
        time: datetime | None = None,
        entry_id: str = "",
    ) -> Message:
        read_only = MappingProxyType(dict(headers)) if headers else NO_HEADERS
        return filled(
            fields[1], self.config.name, self._type, payload, self.key, read_only, time, "", self.lane, 0, entry_id
        )


def _declared(config: StreamConfig, lane: object) -> str:
    for name in config.lane_names:
        if name == lane:
            return name
    raise InvalidMessage(
        f"lane={lane!r}: expected one of the LANES of stream {config.name!r}.{nearest(lane, config.lane_names)}"
    )


def _check_headers(headers: object) -> None:
    if headers is None or (isinstance(headers, Mapping) and all(isinstance(name, str) for name in headers)):
        return
    raise InvalidMessage(f"headers={wire.excerpt(headers)}: expected a dict with texts as its keys.")
