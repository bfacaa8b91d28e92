"""What a handler gets and `publish()` returns.

A message knows nothing of settings, fields on the wire or the server: `wire` makes it from an entry.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NoReturn, final

from .exceptions import Reject, Retry
from .outcomes import REPEATED, Ack

__all__ = [
    "LONGEST_TYPE", "NO_HEADERS", "Message", "asked_of", "filled", "made_at", "mark_repeated", "new_id", "new_ids",
]  # fmt: skip

# In characters: no longer type is published, or matched with a name or pattern.
LONGEST_TYPE: Final = 1_000
NO_HEADERS: Final[Mapping[str, Any]] = MappingProxyType({})
# Entry ids may be given by any client and lie beyond what a datetime can hold: 9999-12-31T23:59:59.999.
_LATEST_MS: Final = 253_402_300_799_999
# The digit of a UUID that says its variant: two bits fixed, two random.
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
# Ids whose random bits are asked for at once.
_AT_ONCE: Final = 100

# What `retry()` or `reject()` of a message asked for last; the outcome of one that `mark_repeated` has marked; or None.
# In C, as a worker asks each message.
asked_of: Final[Callable[[Message], Retry | Reject | Ack | None]] = attrgetter("_asked")


class _Draft:
    """The slots of a message, before it is read-only: plain assignments cost a third of `object.__setattr__`.

    `filled` assigns all of them, and then makes it a `Message` by `__class__`: the two have one layout.
    """

    __slots__ = (
        "_asked", "_given_time", "attempt", "entry_id", "group", "headers",
        "id", "key", "lane", "payload", "stream", "type",
    )  # fmt: skip

    id: str
    stream: str
    type: str
    payload: Any
    key: str | None
    headers: Mapping[str, Any]
    group: str
    lane: str
    attempt: int
    entry_id: str
    _asked: Retry | Reject | Ack | None
    _given_time: datetime | None


@final
class Message(_Draft):
    """One message, read-only. It may be copied, pickled and compared; two are equal if all that they hold is equal.

    `id`       text, the same through every retry, claim and replay: be idempotent by it.
    `stream`   the stream's name as declared.
    `type`     text; `""` where the producer gave none.
    `payload`  what was published, as JSON gives it back (a Decimal or a datetime arrives as text); of a
               foreign entry, a dict of its fields as text.
    `key`      the producer's ordering or partition key, or None.
    `headers`  a read-only mapping.
    `time`     when it was published: an aware datetime in UTC.

    At a handler also `group`, `lane`, `attempt` (the first run is 1) and `entry_id` (of the entry that was
    published). At a producer they are `""`, `"default"`, 0 and `""`, and `time` is when it was made.

    `retry()` and `reject()` mark a run of this object: the mark counts in no comparison, and no copy has it.
    """

    __slots__ = ()

    def __new__(
        cls,
        *,
        id: str,  # noqa: A002  the wire's and the field's own name
        stream: str,
        payload: Any,
        type: str = "",  # noqa: A002
        key: str | None = None,
        headers: Mapping[str, Any] | None = None,
        time: datetime | None = None,
        group: str = "",
        lane: str = "default",
        attempt: int = 0,
        entry_id: str = "",
    ) -> Message:
        """Make a message; without `time` it has that of its entry, or now if it has no entry yet."""
        if time is None and not entry_id:
            time = datetime.now(UTC)
        read_only = MappingProxyType(dict(headers)) if headers else NO_HEADERS
        return filled(id, stream, type, payload, key, read_only, time, group, lane, attempt, entry_id)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"A message is read-only: {name!r} can't be set to {value!r}.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"A message is read-only: {name!r} can't be deleted.")

    def __eq__(self, other: object) -> bool:
        return _values(self) == _values(other) if isinstance(other, Message) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[Callable[..., Message], tuple[Mapping[str, Any]]]:
        return _again, (_values(self),)

    def __repr__(self) -> str:
        return f"<Message {self.id} {self.type or '(no type)'} of {self.stream!r}>"

    @property
    def time(self) -> datetime:
        """When it was published, in UTC: the producer's own time if it gave one, else the entry's.

        At a producer, where there is no entry yet, it is the id's time: when the message was made.
        """
        if self._given_time is not None:
            return self._given_time
        return _time_of(self.entry_id) if self.entry_id else made_at(self.id)

    def retry(self, delay: float | timedelta | None = None, *, count: bool = True) -> None:
        """Mark this message to be run again, without raising; see `Retry`."""
        object.__setattr__(self, "_asked", Retry(delay, count=count))

    def reject(self, reason: str = "rejected by its handler") -> None:
        """Mark this message as one for the dead letter queue, without raising; see `Reject`."""
        object.__setattr__(self, "_asked", Reject(reason))


def filled(  # noqa: PLR0917  by name the call takes longer, for each message
    id: str,  # noqa: A002  the field's own name
    stream: str,
    type: str,  # noqa: A002
    payload: Any,
    key: str | None,
    headers: Mapping[str, Any],
    time: datetime | None,
    group: str,
    lane: str,
    attempt: int,
    entry_id: str,
) -> Message:
    """Return a message of these values as they are: the one place where a message is filled.

    `headers` must be read-only. Without `time` it is that of the entry, or of the id where there is no entry.
    """
    draft: Any = _Draft()
    draft.id = id
    draft.stream = stream
    draft.type = type
    draft.payload = payload
    draft.key = key
    draft.headers = headers
    draft._given_time = time  # noqa: SLF001  a slot of this module's
    draft.group = group
    draft.lane = lane
    draft.attempt = attempt
    draft.entry_id = entry_id
    draft._asked = None  # noqa: SLF001  as above
    draft.__class__ = Message
    message: Message = draft
    return message


def mark_repeated(message: Message) -> None:
    """Mark a message that wasn't run, because its effect was committed before."""
    object.__setattr__(message, "_asked", REPEATED)


def _values(message: Message) -> dict[str, Any]:
    """Return all that a message holds, as the arguments of `Message`."""
    names = ("id", "stream", "type", "payload", "key", "time", "group", "lane", "attempt", "entry_id")
    return {**{name: getattr(message, name) for name in names}, "headers": dict(message.headers)}


def _again(values: Mapping[str, Any]) -> Message:
    """Return a copy made of the values from `__reduce__`; pickles name this function."""
    return Message(**values)


def new_id() -> str:
    """Return a new UUIDv7 (RFC 9562): 48 bits of Unix time in ms, the version and variant, 74 random bits."""
    return _id(os.urandom(10).hex())


def new_ids() -> Iterator[str]:
    """Yield UUIDv7s without end, for one call: random bits are asked for by the hundred, the time for each.

    Don't keep it for another call: after a fork, two processes would go on with the same ids.
    """
    while True:
        digits = os.urandom(10 * _AT_ONCE).hex()
        for start in range(0, 20 * _AT_ONCE, 20):
            yield _id(digits[start : start + 20])


def made_at(identity: str) -> datetime:
    """Return when an id of `new_id` was made."""
    return _at(int(identity[:8] + identity[9:13], 16))


def _id(digits: str) -> str:
    """Return an id made of the time now and 20 random hexadecimal digits, of which one gives only two bits."""
    now = f"{time.time_ns() // 1_000_000:012x}"
    return f"{now[:8]}-{now[8:]}-7{digits[:3]}-{_VARIANT[digits[3]]}{digits[4:7]}-{digits[7:19]}"


def _time_of(entry_id: str) -> datetime:
    return _at(int(entry_id.partition("-")[0]))


def _at(milliseconds: int) -> datetime:
    seconds, rest = divmod(min(milliseconds, _LATEST_MS), 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)
