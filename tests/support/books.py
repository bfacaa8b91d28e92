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


# At one moment: read one after another, a message that moves meanwhile from where is looked last to where was looked
# first would be in no place.
_BOOKS = """
local totals, pending, last = redis.call('HGETALL', KEYS[2]), 0, '0-0'
local rows = redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XINFO', 'GROUPS', KEYS[1]) or {}
for _, row in ipairs(rows) do
    local group = {}
    for index = 1, #row, 2 do group[row[index]] = row[index + 1] end
    if group.name == ARGV[1] then pending, last = group.pending, group['last-delivered-id'] end
end
return {
    totals,
    #redis.call('XRANGE', KEYS[1], '(' .. last, '+'),
    pending + redis.call('XLEN', KEYS[3]),
    redis.call('ZCARD', KEYS[4]),
}
"""


def books(raw: Raw, group: str = "billing", stream: str = "orders") -> Books:
    """Count a group's messages, all at one moment. Redelivered messages that aren't settled count as pending."""
    own = [f"{{{stream}}}:{kind}:{group}" for kind in ("totals", "redelivery", "retry")]
    totals, unread, pending, retrying = raw.execute_command("EVAL", _BOOKS, 4, stream, *own, group)
    done = dict(zip(totals[::2], map(int, totals[1::2]), strict=True))
    names = ("acknowledged", "skipped", "repeated", "dead-lettered", "vanished", "discarded")
    return Books(*(done.get(name, 0) for name in names), unread=unread, pending=pending, retrying=retrying)
