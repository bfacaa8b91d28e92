"""The messages that a test has published, and an assertion about them that shows the others when it fails."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections as databases

from .. import conf
from ..exceptions import StreamsError
from ..message import Message
from ..publishing.transactions import unsent
from ..signals import message_published

__all__ = ["assert_published", "published", "recording"]

# The most published messages that a failure shows.
_SHOWN: Final = 10
_ANY: Final[Any] = object()

# The published messages of each running test; the innermost test is last.
_records: list[list[Message]] = []


@contextmanager
def recording() -> Iterator[None]:
    """Within it, `published` returns the messages that any thread publishes from now on."""
    record: list[Message] = []

    def note(*, message: Message, **_: Any) -> None:
        record.append(message)

    _records.append(record)
    message_published.connect(note, weak=False)
    try:
        yield
    finally:
        message_published.disconnect(note)
        _records.pop()


def published(stream: str | None = None) -> list[Message]:
    """Return the messages that this test has published, in order; those of a transaction once it has committed.

    A payload is as a handler gets it. Raises `UnknownStream`, and `StreamsError` outside an isolated test.
    """
    if not _records:
        raise StreamsError(
            "Nothing is recorded here: use StreamsMixin, or set `redis_streams_server = fake` in the configuration of "
            'pytest (pip install "django-redis-streams[testing]" brings what that needs).'
        )
    if stream is not None:
        conf.stream(stream)
    return [each for each in _records[-1] if stream in (None, each.stream)]


def assert_published(
    stream: str,
    *,
    type: str | None = None,  # noqa: A002  the message's own word for it
    payload: Any = _ANY,
    payload_includes: Mapping[str, Any] | None = None,
    count: int | None = None,
) -> list[Message]:
    """Return the messages of the stream with this type and payload: `count` of them, without it at least one.

    `payload` may hold what `publish` takes (a Decimal, a date): it is compared as a handler gets it. Of a payload that
    has more keys, `payload_includes` compares those that it names, and within a nested object again those that it
    names. `count=0` asserts that there is no such message. The failure shows the published ones. Raises `ValueError`
    if both payloads are given.
    """
    __tracebackhide__ = True
    if payload is not _ANY and payload_includes is not None:
        raise ValueError("payload= compares all of a payload, payload_includes= a part of it: give one of them.")
    part = payload_includes is not None
    given = payload_includes if part else payload
    wanted = _Wanted(stream, type, given if given is _ANY else _as_json(given), count, part=part)
    told = published(stream)
    found = [each for each in told if wanted.takes(each)]
    if len(found) == count or (count is None and found):
        return found
    raise AssertionError("\n".join(_failure(wanted, len(found), told)))


@dataclass(frozen=True, slots=True)
class _Wanted:
    stream: str
    type: str | None
    payload: Any
    count: int | None
    part: bool

    def takes(self, message: Message) -> bool:
        return self.is_type(message) and (self.payload is _ANY or self.compared(message.payload) == self.payload)

    def is_type(self, message: Message) -> bool:
        return self.type in (None, message.type)

    def compared(self, payload: Any) -> Any:
        """Return what of a payload is compared."""
        return _common(payload, self.payload) if self.part else payload

    def __str__(self) -> str:
        count = "at least 1 message" if self.count is None else f"{self.count} message{'s' * (self.count != 1)}"
        type_ = "" if self.type is None else f" of type {self.type!r}"
        return f"{count} on {self.stream!r}{type_}" + (
            ""
            if self.payload is _ANY
            else f" with {'a payload that includes' if self.part else 'payload'} {self.payload!r}"
        )


def _as_json(payload: Any) -> Any:
    return json.loads(json.dumps(payload, cls=DjangoJSONEncoder))


def _failure(wanted: _Wanted, found: int, told: Sequence[Message]) -> Iterator[str]:
    yield f"Expected {wanted}, found {found}."
    yield f"Published on {wanted.stream!r}: {len(told)}" + (":" if told else ".")
    yield from (f"  {each.type or '(no type)'} {each.payload!r}" for each in told[:_SHOWN])
    if len(told) > _SHOWN:
        yield f"  … and {len(told) - _SHOWN} more"
    if wanted.payload is not _ANY and not found and told:
        yield from _difference(wanted, told)
    if others := sorted({each.stream for each in published()} - {wanted.stream}):
        yield f"Published on others: {', '.join(map(repr, others))}."
    yield from _waiting()


def _difference(wanted: _Wanted, told: Sequence[Message]) -> Iterator[str]:
    """Compare the nearest payload, line by line, with the expected one: of the same type, if there is one."""
    lines = _lines(wanted.payload)
    published_lines = [_lines(wanted.compared(each.payload)) for each in [*filter(wanted.is_type, told)] or told]
    nearest = max(published_lines, key=lambda each: difflib.SequenceMatcher(None, lines, each).ratio())
    yield "The nearest payload (- expected, + published):"
    yield from (f"  {line}" for line in difflib.ndiff(lines, nearest) if not line.startswith("?"))


def _common(payload: Any, wanted: Any) -> Any:
    """Return a payload without the keys that `wanted` doesn't name, in nested objects too."""
    if not (isinstance(payload, dict) and isinstance(wanted, dict)):
        return payload
    return {key: _common(payload[key], value) for key, value in wanted.items() if key in payload}


def _lines(payload: Any) -> list[str]:
    return json.dumps(payload, indent=2, sort_keys=True, ensure_ascii=False).splitlines()


def _waiting() -> Iterator[str]:
    """Yield the calls that wait for a commit, which a TestCase never makes: the most frequent mistake.

    What captureOnCommitCallbacks has executed stays among the callbacks of the connection, but waits no more.
    """
    for database in databases.all(initialized_only=True):
        if count := unsent(database):
            yield (
                f"{count} call{'s' * (count != 1)} of publish wait{'s' * (count == 1)} for the commit of database "
                f"{database.alias!r}, which never comes in a TestCase: publish within "
                "captureOnCommitCallbacks(execute=True), with pytest within "
                "django_capture_on_commit_callbacks(execute=True)."
            )
