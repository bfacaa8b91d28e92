"""What there is to know of one message that went wrong or waits: frozen, flat, in plain values.

Text is UTF-8 with surrogate escapes, as it came: whoever shows it makes it fit to be shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .. import wire
from ..keys import DEFAULT_LANE
from ..store.consume.membership import RETURNED
from ..store.observe.sources import DeadLetters, Delayed, Found, Pending, Retries
from ..wire import Carried, Fields, Origin

__all__ = [
    "DeadLetter", "DelayedMessage", "PendingMessage", "RetryingMessage", "Row", "dead_letter", "delayed", "moment",
    "pending", "retrying",
]  # fmt: skip

# How much longer than its fields a payload may become by being indented. Of numbers 900 lists deep each would
# stand behind 1,800 spaces, and a megabyte would become a gigabyte.
_MOST_ROOM: Final = 10
_ANY_ROOM: Final = 10_000
# Any client may give any entry id. A day short of the last moment that a datetime holds: a time zone may be added.
_LATEST: Final = datetime(9999, 12, 30, tzinfo=UTC)
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = (_LATEST - _FIRST) // timedelta(milliseconds=1)


def moment(milliseconds: float) -> datetime:
    """An aware time in UTC from ms since 1970, within what a datetime holds in every time zone."""
    return _FIRST + timedelta(milliseconds=max(0, min(int(milliseconds), _LATEST_MS)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What all kinds have in common.

    `stream` and `group` as declared; `group` is "" where a dead letter isn't one of ours, and of a delayed message.
    `key` and `published_id` say where the message was published: main stream or lane, and entry id. `attempts` is how
    many runs have been counted, `handler` the dotted name of the last one, `error` its error in a line,
    `traceback` its traceback. `replays` is how often it was replayed, `replayed_by` by whom last; `edited_by` who last
    gave it another payload, `original` the fields it was published with before that.
    `fields` are the original ones, name, value, name, value …; None where there is no body.
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

    @property
    def payload(self) -> str:
        """What its handler gets, as indented JSON; the text itself where it isn't JSON; "" without a body."""
        return self._payload_in(self.fields)

    @property
    def original_payload(self) -> str:
        """What was published, where it was edited since; "" where it wasn't."""
        return self._payload_in(self.original)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The original fields, in their order."""
        fields = self.fields or []
        return list(zip(fields[::2], fields[1::2], strict=False))

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        texts = [self.error, self.traceback, *(self.fields or ()), *(self.original or ())]
        return sum(map(len, texts))

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
class DeadLetter(Row):
    """A dead letter. `entry_id` is its own, in the queue; `dead_lettered_at` when it got there; `reason` why.

    Without `ours`, it is an entry that this package didn't write: all its fields are in `fields`.
    """

    entry_id: str
    reason: str = ""
    ours: bool = True
    dead_lettered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryingMessage(Row):
    """A message that failed and is `due` again; `token` names it within its group."""

    token: str
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedMessage(Row):
    """A message that is published when it is `due`; `token`, which is its id, names it within its stream."""

    token: str
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingMessage(Row):
    """A message that was delivered and isn't acknowledged.

    `place` is "main" or "redelivery", in another lane "main:high" and so on; `entry_id` its id there. `idle` is in
    seconds since `consumer` got or renewed it. With `stale`, that is `claim_idle` seconds or more,
    so another consumer may have it; `claim_idle` is None for a group that isn't declared here. With `body_gone`, it
    can't be run by anybody.
    """

    place: str
    entry_id: str
    consumer: str
    idle: float
    deliveries: int
    claim_idle: float | None = None
    body_gone: bool = False

    @property
    def returned(self) -> bool:
        """Whether it was handed back: the next free consumer takes it."""
        return self.consumer == RETURNED

    @property
    def stale(self) -> bool:
        """Whether it may be handed back by hand."""
        return self.claim_idle is not None and not self.returned and self.idle >= self.claim_idle


def dead_letter(source: DeadLetters, found: Found) -> DeadLetter:
    """The row of an entry in a dead letter queue."""
    at = moment(int(found.entry_id.partition("-")[0]))
    identity: dict[str, Any] = {"stream": source.stream.name, "entry_id": found.entry_id, "dead_lettered_at": at}
    ours = wire.uncarry(found.fields or ())
    if ours is None:
        return DeadLetter(**identity, group="", ours=False, **_foreign(source.stream.keys.dlq, found))
    carried, fields = ours
    return DeadLetter(**identity, group=carried.group, reason=carried.reason, **_known(carried, fields))


def retrying(source: Retries, found: Found) -> RetryingMessage:
    """The row of a retry; one without a readable body is shown by its token."""
    identity: dict[str, Any] = {
        "stream": source.stream.name,
        "group": source.group,
        "token": found.token,
        "due": moment(found.place.first),
    }
    ours = wire.uncarry(found.fields or ())
    if ours is None:
        return RetryingMessage(**identity, message_id=found.token)
    return RetryingMessage(**identity, **_known(*ours))


def delayed(source: Delayed, found: Found) -> DelayedMessage:
    """The row of a delayed message; one without a readable body is shown by its token."""
    identity: dict[str, Any] = {
        "stream": source.stream.name,
        "group": "",
        "token": found.token,
        "due": moment(found.place.first),
    }
    # An odd number of fields is none that we have written.
    if not found.fields or len(found.fields) % 2:
        return DelayedMessage(**identity, message_id=found.token)
    key = source.stream.keys.lane(found.lane)
    return DelayedMessage(**identity, lane=found.lane, **_foreign(key, found))


def pending(source: Pending, found: Found) -> PendingMessage:
    """The row of a pending entry with its body, if it has one."""
    declared = source.stream.groups.get(source.group)
    ours = wire.uncarry(found.fields or ()) if source.ours else None
    return PendingMessage(
        stream=source.stream.name,
        group=source.group,
        place=source.place,
        entry_id=found.entry_id,
        consumer=found.consumer,
        idle=found.idle_ms / 1000,
        deliveries=found.deliveries,
        claim_idle=declared.claim_idle if declared else None,
        body_gone=found.fields is None,
        **(_known(*ours) if ours else {**_foreign(source.key, found), "lane": source.lane}),
    )


def _known(carried: Carried, fields: Fields) -> Mapping[str, Any]:
    return {
        "lane": carried.lane,
        "message_id": carried.id,
        "type": carried.type,
        "key": carried.source,
        "published_id": carried.entry,
        "attempts": carried.attempt,
        "handler": carried.handler,
        "error": carried.error,
        "traceback": carried.traceback,
        "first_failed": moment(carried.first) if carried.first else None,
        "last_failed": moment(carried.last) if carried.last else None,
        "replays": carried.replays,
        "replayed_by": carried.replayed_by,
        "edited_by": carried.edited_by,
        "original": _original(carried),
        "fields": fields,
    }


def _original(carried: Carried) -> Fields | None:
    """The fields before an edit; None where there was none, or they can't be read: any client writes to the queue."""
    try:
        fields = json.loads(carried.original) if carried.original else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, list) or len(fields) % 2 or not all(isinstance(each, str) for each in fields):
        return None
    return fields


def _foreign(key: str, found: Found) -> Mapping[str, Any]:
    """What an entry says that was never carried: on a main stream any, in our own streams a stranger's."""
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
    """JSON for people, indented where it takes no more than so many characters."""
    parts, size = [], 0
    for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
        size += len(part)
        if size > most:
            return json.dumps(value, ensure_ascii=False)
        parts.append(part)
    return "".join(parts)
