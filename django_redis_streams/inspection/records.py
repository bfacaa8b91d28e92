"""The record of one message that failed or waits: frozen, flat, in plain values.

Text is UTF-8 with surrogate escapes, as it came: the code that shows it makes it fit to be shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from .. import wire
from ..keys import DEFAULT_LANE, EntryId
from ..store.consume.clock import TOLERATED_MS
from ..store.consume.membership import RETURNED
from ..store.observe.sources import DeadLetters, Delayed, Found, Pending, Retries
from ..wire import Fields, Origin, RedeliveryMetadata

__all__ = [
    "DeadLetter",
    "DelayedMessage",
    "MessageRecord",
    "PendingMessage",
    "RetryingMessage",
    "age",
    "dead_letter",
    "delayed",
    "moment",
    "pending",
    "retrying",
]  # fmt: skip

# How many times longer than its fields a payload may become by indenting. Numbers 900 lists deep would each stand
# behind 1,800 spaces, and a megabyte would become a gigabyte.
_MOST_ROOM: Final = 10
_ANY_ROOM: Final = 10_000
# Any client may choose any entry id. A day before the last moment that a datetime holds: a time zone may be added.
_LATEST: Final = datetime(9999, 12, 30, tzinfo=UTC)
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = (_LATEST - _FIRST) // timedelta(milliseconds=1)


def moment(milliseconds: float) -> datetime:
    """Return an aware time in UTC from ms since 1970, within what a datetime holds in every time zone."""
    return _FIRST + timedelta(milliseconds=max(0, min(int(milliseconds), _LATEST_MS)))


def age(now: int, entry_id: str) -> float | None:
    """Return for how many seconds an entry has been there, at `now` in ms; None for an id in the future: nobody knows.

    An id that is less than a second ahead counts as new.
    """
    passed = now - EntryId.of(entry_id).milliseconds
    return None if passed < -TOLERATED_MS else max(0.0, passed / 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """The fields that all kinds of messages share.

    `stream` and `group` are as declared; `group` is "" for a foreign dead letter and for a delayed message.
    `key` and `published_id` say where the message was published: main stream or lane, and entry id. `attempts` is how
    many runs have been counted, `handler` the dotted name of the last handler, `error` its error in a line,
    `traceback` its traceback. `replays` is how often it was replayed, `replayed_by` by whom last; `edited_by` is who
    last replaced the payload, `original` the fields before the first edit.
    `fields` are the original ones: name, value, name, value …; None where there is no body, or it wasn't asked for.
    `size` is how many bytes the server keeps for the message, its metadata included.
    """

    stream: str
    group: str
    lane: str = DEFAULT_LANE
    message_id: str = ""
    type: str = ""
    key: str = ""
    published_id: str = ""
    attempts: int = 0
    handler: str = ""
    error: str = ""
    traceback: str = ""
    first_failed: datetime | None = None
    last_failed: datetime | None = None
    replays: int = 0
    replayed_by: str = ""
    edited_by: str = ""
    original: Fields | None = None
    fields: Fields | None = None
    size: int = 0

    @property
    def payload(self) -> str:
        """The payload that a handler gets, as indented JSON; the text itself if it isn't JSON; "" without a body."""
        return self._payload_in(self.fields)

    @property
    def original_payload(self) -> str:
        """The published payload if it was edited since, else ""."""
        return self._payload_in(self.original)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The original fields, in their order."""
        fields = self.fields or []
        return list(zip(fields[::2], fields[1::2], strict=False))

    @property
    def held(self) -> int:
        """About how many bytes the record itself takes; without its body, few."""
        texts = [self.error, self.traceback, *(self.fields or ()), *(self.original or ())]
        return sum(map(len, texts))

    def without_body(self) -> Self:
        """Return the record without its fields and those before an edit."""
        return replace(self, fields=None, original=None)

    def _payload_in(self, fields: Fields | None) -> str:
        if fields is None:
            return ""
        origin = Origin(stream=self.stream, group=self.group, key=self.key)
        try:
            decoded = wire.decode(origin, self.published_id, fields).payload
            return _indented(decoded, _MOST_ROOM * sum(map(len, fields)) + _ANY_ROOM)
        except (ValueError, RecursionError):
            values = dict(zip(fields[::2], fields[1::2], strict=False))
            return values.get("data", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter(MessageRecord):
    """A dead letter. `entry_id` is its id in the queue, `dead_lettered_at` when it got there, `reason` why.

    It was `read_at` that time of the server's clock, which tells its age. If it isn't `native`, this package didn't
    write it: all its fields are in `fields`.
    """

    entry_id: str
    reason: str = ""
    native: bool = True
    dead_lettered_at: datetime
    read_at: datetime = field(compare=False)

    @property
    def age(self) -> timedelta:
        """How long it had been there when it was read."""
        return self.read_at - self.dead_lettered_at


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryingMessage(MessageRecord):
    """A message that failed and will be run again when it is `due`; `token` names it within its group.

    It was `read_at` that time of the server's clock.
    """

    token: str
    due: datetime
    read_at: datetime = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedMessage(MessageRecord):
    """A message that will be published when it is `due`; `token`, its id, names it within its stream.

    It was `read_at` that time of the server's clock.
    """

    token: str
    due: datetime
    read_at: datetime = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingMessage(MessageRecord):
    """A message that was delivered and isn't acknowledged.

    `source` is "main" or "redelivery", in another lane "main:high" and so on; `entry_id` is its id there. `idle` is the
    seconds since `consumer` got or renewed it. From `claim_idle` seconds on it is `stale`, so another consumer may
    claim it; `claim_idle` is None for a group that isn't declared here. With `body_gone`, nobody can run it.
    """

    source: str
    entry_id: str
    consumer: str
    idle: float
    deliveries: int
    claim_idle: float | None = None
    body_gone: bool = False

    @property
    def returned(self) -> bool:
        """Whether it was handed back: the next free consumer claims it."""
        return self.consumer == RETURNED

    @property
    def stale(self) -> bool:
        """Whether an operator may release it."""
        return self.claim_idle is not None and not self.returned and self.idle >= self.claim_idle


def dead_letter(source: DeadLetters, found: Found, now: int) -> DeadLetter:
    """Return the record of a dead letter queue's entry, read at `now` in ms."""
    at = moment(int(found.entry_id.partition("-")[0]))
    identity: dict[str, Any] = {
        "stream": source.stream.name,
        "entry_id": found.entry_id,
        "dead_lettered_at": at,
        "read_at": moment(now),
        "size": found.size,
    }
    native = wire.split_metadata(found.fields or ())
    if native is None:
        return DeadLetter(**identity, group="", native=False, **_foreign(source.stream.keys.dlq, found))
    metadata, fields = native
    return DeadLetter(**identity, group=metadata.group, reason=metadata.reason, **_known(metadata, fields))


def retrying(source: Retries, found: Found, now: int) -> RetryingMessage:
    """Return the record of a retry, read at `now` in ms; one without a readable body is shown by its token."""
    identity: dict[str, Any] = {
        "stream": source.stream.name,
        "group": source.group,
        "token": found.token,
        "due": moment(found.position.first),
        "read_at": moment(now),
        "size": found.size,
    }
    native = wire.split_metadata(found.fields or ())
    if native is None:
        return RetryingMessage(**identity, message_id=found.token)
    return RetryingMessage(**identity, **_known(*native))


def delayed(source: Delayed, found: Found, now: int) -> DelayedMessage:
    """Return the record of a delayed message, read at `now` in ms; without a readable body it is shown by its token."""
    identity: dict[str, Any] = {
        "stream": source.stream.name,
        "group": "",
        "token": found.token,
        "due": moment(found.position.first),
        "read_at": moment(now),
        "size": found.size,
    }
    # This package never writes an odd number of fields.
    if not found.fields or len(found.fields) % 2:
        return DelayedMessage(**identity, message_id=found.token)
    key = source.stream.keys.lane(found.lane)
    return DelayedMessage(**identity, lane=found.lane, **_foreign(key, found))


def pending(source: Pending, found: Found) -> PendingMessage:
    """Return the record of a pending entry, with its body if there is one."""
    declared = source.stream.groups.get(source.group)
    redelivered = wire.split_metadata(found.fields or ()) if source.redelivered else None
    return PendingMessage(
        stream=source.stream.name,
        group=source.group,
        source=source.kind,
        entry_id=found.entry_id,
        consumer=found.consumer,
        idle=found.idle_ms / 1000,
        deliveries=found.deliveries,
        claim_idle=declared.claim_idle if declared else None,
        body_gone=found.fields is None,
        size=found.size,
        **(_known(*redelivered) if redelivered else {**_foreign(source.key, found), "lane": source.lane}),
    )


def _known(metadata: RedeliveryMetadata, fields: Fields) -> Mapping[str, Any]:
    return {
        "lane": metadata.lane,
        "message_id": metadata.id,
        "type": metadata.type,
        "key": metadata.source,
        "published_id": metadata.entry,
        "attempts": metadata.attempt,
        "handler": metadata.handler,
        "error": metadata.error,
        "traceback": metadata.traceback,
        "first_failed": moment(metadata.first) if metadata.first else None,
        "last_failed": moment(metadata.last) if metadata.last else None,
        "replays": metadata.replays,
        "replayed_by": metadata.replayed_by,
        "edited_by": metadata.edited_by,
        "original": _original(metadata),
        "fields": fields,
    }


def _original(metadata: RedeliveryMetadata) -> Fields | None:
    """Return the fields before the first edit; None without one, or if a client wrote what nobody can read."""
    try:
        fields = json.loads(metadata.original) if metadata.original else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, list) or len(fields) % 2 or not all(isinstance(each, str) for each in fields):
        return None
    return fields


def _foreign(key: str, found: Found) -> Mapping[str, Any]:
    """Return what an entry without our metadata says: any entry of a main stream, elsewhere one that others wrote."""
    fields = found.fields
    values = dict(zip(fields[::2], fields[1::2], strict=True)) if fields is not None else {}
    return {
        "message_id": wire.message_id(key, found.entry_id, fields or ()),
        "type": values.get("type", ""),
        "key": key,
        "published_id": found.entry_id,
        "fields": fields,
    }


def _indented(value: Any, most: int) -> str:
    """Return JSON for people: indented, unless that takes more than so many characters."""
    parts, size = [], 0
    for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
        size += len(part)
        if size > most:
            return json.dumps(value, ensure_ascii=False)
        parts.append(part)
    return "".join(parts)
