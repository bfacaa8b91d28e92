"""The names of everything that this package keeps on the server.

All keys of one stream share a hash slot (`orders` and `{orders}:dlq` hash alike), so that one script may
touch several of them on a Redis Cluster too (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

__all__ = [
    "DEFAULT_LANE",
    "LARGEST_PART",
    "EntryId",
    "StreamKeys",
    "deleted_field",
    "group_of_field",
    "is_entry_id",
    "literal",
    "main_of_side",
    "paused_field",
    "sides_pattern",
    "split_label",
    "split_token",
    "token",
]  # fmt: skip

DEFAULT_LANE = "default"
# The largest number in an entry id: the server keeps each of its two numbers in 64 bits.
LARGEST_PART: Final = 2**64 - 1
# As the server writes ids: no other text names the same entry.
# What stands beside each stream that a worker or `publish(delay=…)` has used.
_SIDE: Final = re.compile("{([^{}]+)}:(groups|clock|delayed|dlq)")
# Characters with a meaning in a pattern of SCAN.
_SPECIAL: Final = re.compile(r"[*?\[\]\\^-]")
_ENTRY_ID: Final = re.compile("(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")


class EntryId(NamedTuple):
    """The id of an entry, as the two numbers that the server orders entries by."""

    milliseconds: int
    sequence: int

    @classmethod
    def of(cls, text: str) -> Self:
        """Parse an id as the server writes it."""
        milliseconds, _, sequence = text.partition("-")
        return cls(int(milliseconds), int(sequence or 0))

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.sequence}"

    @property
    def next(self) -> EntryId:
        """The smallest id above this one."""
        if self.sequence < LARGEST_PART:
            return EntryId(self.milliseconds, self.sequence + 1)
        return EntryId(self.milliseconds + 1, 0)

    @property
    def previous(self) -> EntryId:
        """The largest id below this one; that of "0-0" is below all."""
        if self.sequence:
            return EntryId(self.milliseconds, self.sequence - 1)
        return EntryId(self.milliseconds - 1, LARGEST_PART)


def is_entry_id(text: str) -> bool:
    """Tell whether a text is an entry id as the server writes it, so that it may be asked for."""
    return _ENTRY_ID.fullmatch(text) is not None and max(EntryId.of(text)) <= LARGEST_PART


@dataclass(frozen=True, slots=True)
class StreamKeys:
    """The keys of one stream; `main` is its name with the connection's prefix."""

    main: str
    renamed_dlq: str | None = None

    def _side(self, *parts: str) -> str:
        return ":".join(("{" + self.main + "}", *parts))

    @property
    def dlq(self) -> str:
        """Stream of the dead letters of all groups."""
        return self.renamed_dlq or self._side("dlq")

    @property
    def groups(self) -> str:
        """Hash: every group ever seen here, to the id that its START stood for; and which are paused or deleted."""
        return self._side("groups")

    @property
    def promoter(self) -> str:
        """String: the lease of the one process that promotes due messages, and when it looks next, in ms; expires."""
        return self._side("promoter")

    @property
    def notices(self) -> str:
        """Stream of notices that tell sleeping workers to look: the last hundred, each a kind with a group."""
        return self._side("notices")

    @property
    def clock(self) -> str:
        """Hash: the latest time that the server's clock showed, and what is known of its last jump."""
        return self._side("clock")

    @property
    def delayed(self) -> str:
        """ZSET of what is published later: token to due time in ms. A token is the message's id."""
        return self._side("delayed")

    @property
    def delayed_entries(self) -> str:
        """Hash: token to the lane and the fields of what is published later."""
        return self._side("delayed", "entries")

    @property
    def lanes(self) -> str:
        """Hash: `group:lane` of every lane ever read, to the id that the group began at there."""
        return self._side("lanes")

    def lane(self, name: str) -> str:
        """Stream of one lane; the default lane is the main stream, so declaring lanes strands nothing."""
        return self.main if name == DEFAULT_LANE else self._side("lane", name)

    def redelivery(self, group: str, lane: str = DEFAULT_LANE) -> str:
        """Stream of one group's due retries and replays."""
        return self._side("redelivery", group, *([] if lane == DEFAULT_LANE else [lane]))

    def retry(self, group: str) -> str:
        """ZSET of the retries that aren't due yet: token to due time in ms."""
        return self._side("retry", group)

    def retry_entries(self, group: str) -> str:
        """Hash: token to what the retry will be when due."""
        return self._side("retry", group, "entries")

    def rate(self, group: str) -> str:
        """Name the string: when the group's next message would be due at an even pace, in microseconds since 1970."""
        return self._side("limits", group, "rate")

    def slots(self, group: str) -> str:
        """ZSET: token of each message that the group's workers have in hand, to when that lease ends, in ms."""
        return self._side("limits", group, "slots")

    def suspects(self, group: str) -> str:
        """Hash: entries that may have killed a worker and run in quarantine only; token to what is known, as JSON."""
        return self._side("suspects", group)

    def totals(self, group: str) -> str:
        """Hash: counts of what has become of the group's messages, since the group began."""
        return self._side("totals", group)

    @property
    def processes(self) -> str:
        """ZSET: each worker process that serves groups of the stream, to when it last said what, in ms; expires."""
        return self._side("processes")

    def alive(self, process: str) -> str:
        """Name the string that is there as long as a worker process is alive, and expires soon after.

        It says by how many ms its clock is ahead, and what it says of itself. Scripts add its name to the key of "".
        """
        return self._side("alive", process)

    def workers(self, group: str) -> str:
        """ZSET: each consumer of a worker that serves the group, to when it was last noted, in ms."""
        return self._side("workers", group)

    def relay(self, database: str) -> str:
        """Name the string: the lease of the process that relays a database's outbox to this server; expires.

        It is beside the first stream of a connection, by name.
        """
        return self._side("relay", database)

    def relayed(self, database: str) -> str:
        """Name the string: which run of the server was compared last with what the database keeps; as above."""
        return self._side("relayed", database)

    def books(self, group: str) -> str:
        """Hash: how much of each lane's stream was there before the group, and what was seen of the group last."""
        return self._side("books", group)

    def stats(self, group: str) -> str:
        """Begin the name of a hash: what the group's workers did in one minute; expires.

        A script adds a colon and the minute, counted since 1970 by the server's clock.
        """
        return self._side("stats", group)


def paused_field(group: str) -> str:
    """Return the field of the hash of groups that says since when a group is paused. No group's name has a colon."""
    return f"{group}:paused"


def deleted_field(group: str) -> str:
    """Return the field of the hash of groups that says when a group was deleted on purpose, and by whom."""
    return f"{group}:deleted"


def group_of_field(field: str) -> str | None:
    """Return the group that a field of the hash of groups records; None for a field that says something else."""
    return None if ":" in field else field


def sides_pattern(prefix: str) -> str:
    """Return the pattern of SCAN for what stands beside the streams of a connection with this KEY_PREFIX."""
    return "{" + (literal(prefix) + ":" if prefix else "") + "*}:*"


def main_of_side(key: str) -> str | None:
    """Return the key of the stream that a key stands beside, for those that nearly each stream has; else None."""
    found = _SIDE.fullmatch(key)
    return found and found[1]


def literal(text: str) -> str:
    """Return the pattern of SCAN that this text alone matches."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def token(key: str, entry_id: str) -> str:
    """Return where an entry was pending, as one word; entry ids alone are often equal in two streams."""
    return f"{key}/{entry_id}"


def split_label(label: str) -> tuple[str, str]:
    """Return the stream and group of `stream:group`; without a colon it is a stream, and the group is "".

    Streams' names may hold colons, groups' don't.
    """
    stream, colon, group = label.rpartition(":")
    return (stream, group) if colon else (label, "")


def split_token(value: str) -> tuple[str, str]:
    """Return the (key, entry id) of a token."""
    key, _, entry_id = value.rpartition("/")
    return key, entry_id
