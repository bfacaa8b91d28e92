"""Where the messages of a group are, as an outsider counts them on the server."""

import json
from typing import Any, NamedTuple

Raw = Any


class Letter(NamedTuple):
    """A dead letter: its metadata, and the original fields in their order."""

    metadata: dict[str, Any]
    fields: list[str]


def totals(raw: Raw, group: str = "billing", stream: str = "orders") -> dict[str, int]:
    """What became of the group's messages, without what happened to none."""
    found = raw.hgetall(f"{{{stream}}}:totals:{group}")
    return {name: int(value) for name, value in found.items() if int(value)}


def letters(raw: Raw, stream: str = "orders") -> list[Letter]:
    """The dead letters of a stream."""
    rows = raw.execute_command("EVAL", "return redis.call('XRANGE', KEYS[1], '-', '+')", 1, f"{{{stream}}}:dlq")
    return [Letter(json.loads(fields[1]), fields[2:]) for _, fields in rows]


class Books(NamedTuple):
    """How many of a group's messages are where."""

    acknowledged: int
    skipped: int
    dead_lettered: int
    vanished: int
    discarded: int
    unread: int
    pending: int
    retrying: int

    @property
    def all(self) -> int:
        """As many as were published, and replayed."""
        return sum(self)


def books(raw: Raw, group: str = "billing", stream: str = "orders") -> Books:
    """Count them. What is redelivered and not yet settled counts as pending."""
    done = totals(raw, group, stream)
    names = ("acknowledged", "skipped", "dead-lettered", "vanished", "discarded")
    row = next((each for each in raw.xinfo_groups(stream) if each["name"] == group), None)
    last = row["last-delivered-id"] if row else "0-0"
    return Books(
        *(done.get(name, 0) for name in names),
        unread=len(raw.xrange(stream, f"({last}")),
        pending=(row["pending"] if row else 0) + raw.xlen(f"{{{stream}}}:redelivery:{group}"),
        retrying=raw.zcard(f"{{{stream}}}:retry:{group}"),
    )
