"""Counts of a group's messages by where they are, read from the server without the package's own code."""

import json
from typing import Any, NamedTuple

Raw = Any


class Letter(NamedTuple):
    """A dead letter: its metadata, and the original fields in their order."""

    metadata: dict[str, Any]
    fields: list[str]


def totals(raw: Raw, group: str = "billing", stream: str = "orders") -> dict[str, int]:
    """Return the counts of outcomes of the group's messages, without zeros."""
    found = raw.hgetall(f"{{{stream}}}:totals:{group}")
    return {name: int(value) for name, value in found.items() if int(value)}


def letters(raw: Raw, stream: str = "orders") -> list[Letter]:
    """Return the dead letters of a stream."""
    rows = raw.execute_command("EVAL", "return redis.call('XRANGE', KEYS[1], '-', '+')", 1, f"{{{stream}}}:dlq")
    return [Letter(json.loads(fields[1]), fields[2:]) for _, fields in rows]


class Books(NamedTuple):
    """How many of a group's messages are in each place."""

    acknowledged: int
    skipped: int
    repeated: int
    dead_lettered: int
    vanished: int
    discarded: int
    unread: int
    pending: int
    retrying: int

    @property
    def all(self) -> int:
        """How many there are in all: as many as were published and replayed."""
        return sum(self)


def books(raw: Raw, group: str = "billing", stream: str = "orders") -> Books:
    """Count a group's messages. Redelivered messages that aren't settled count as pending."""
    done = totals(raw, group, stream)
    names = ("acknowledged", "skipped", "repeated", "dead-lettered", "vanished", "discarded")
    row = next((each for each in raw.xinfo_groups(stream) if each["name"] == group), None)
    last = row["last-delivered-id"] if row else "0-0"
    return Books(
        *(done.get(name, 0) for name in names),
        unread=len(raw.xrange(stream, f"({last}")),
        pending=(row["pending"] if row else 0) + raw.xlen(f"{{{stream}}}:redelivery:{group}"),
        retrying=raw.zcard(f"{{{stream}}}:retry:{group}"),
    )
