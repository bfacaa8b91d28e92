"""The findings of a diagnosis, each with a code, a level, the evidence, and what fixes it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

__all__ = ["Code", "Finding", "Level"]


class Level(StrEnum):
    """The levels, worst first: a fault stops or loses messages, a warning may lead to that."""

    FAULT = "fault"
    WARNING = "warning"
    INFORMATION = "information"


class Code(StrEnum):
    """Every kind of finding."""

    level: Level

    def __new__(cls, name: str, level: Level) -> Self:
        """Make a code of its name and its level."""
        code = str.__new__(cls, name)
        code._value_ = name
        code.level = level
        return code

    NOTHING_DECLARED = "nothing-declared", Level.FAULT
    UNREACHABLE = "unreachable", Level.FAULT
    UNASKED = "unasked", Level.WARNING
    OLD_SERVER = "old-server", Level.FAULT
    CLUSTER = "cluster", Level.WARNING
    CLUSTER_DOWN = "cluster-down", Level.FAULT
    SLOTS_MISSING = "slots-missing", Level.FAULT
    REPLICA = "replica", Level.FAULT
    TOO_FEW_REPLICAS = "too-few-replicas", Level.FAULT
    MEMORY_FULL = "memory-full", Level.FAULT
    MEMORY_FILLS = "memory-fills", Level.WARNING
    SAVING_FAILS = "saving-fails", Level.FAULT
    EVICTED = "evicted", Level.FAULT
    EVICTS = "evicts", Level.WARNING
    REPLICA_BEHIND = "replica-behind", Level.WARNING
    REPLICAS_NOT_REQUIRED = "replicas-not-required", Level.WARNING
    MASTER_ALONE = "master-alone", Level.WARNING
    NO_APPEND_ONLY_FILE = "no-append-only-file", Level.WARNING
    NO_MAXMEMORY = "no-maxmemory", Level.INFORMATION
    NO_REPLICA = "no-replica", Level.INFORMATION
    CLOCK_DIFFERS = "clock-differs", Level.WARNING
    WORKER_CLOCK_DIFFERS = "worker-clock-differs", Level.WARNING
    EMBEDDED = "embedded", Level.INFORMATION

    OUTBOX_MISSING = "outbox-missing", Level.FAULT
    OUTBOX_UNASKED = "outbox-unasked", Level.WARNING
    OUTBOX_STALLED = "outbox-stalled", Level.FAULT
    OUTBOX_FORBIDDEN = "outbox-forbidden", Level.FAULT
    OUTBOX_REFUSED = "outbox-refused", Level.WARNING
    OUTBOX_UNDECLARED = "outbox-undeclared", Level.WARNING
    INBOX_MISSING = "inbox-missing", Level.FAULT
    INBOX_UNASKED = "inbox-unasked", Level.WARNING

    UNREADABLE = "unreadable", Level.FAULT
    OVERDUE = "overdue", Level.FAULT
    CLOCK_JUMPED = "clock-jumped", Level.WARNING
    IDS_IN_FUTURE = "ids-in-future", Level.WARNING
    LONGER_THAN_MAXLEN = "longer-than-maxlen", Level.WARNING
    LONGER_THAN_HARD_MAXLEN = "longer-than-hard-maxlen", Level.WARNING
    NEVER_TRIMMED = "never-trimmed", Level.WARNING
    GROUP_RENAMED = "group-renamed", Level.WARNING
    STREAM_RENAMED = "stream-renamed", Level.WARNING
    UNDECLARED_GROUP = "undeclared-group", Level.WARNING
    STRANDED_RETRIES = "stranded-retries", Level.WARNING
    LEFT_IN_LANE = "left-in-lane", Level.WARNING
    NO_LIMIT = "no-limit", Level.INFORMATION
    NOT_SEARCHED = "not-searched", Level.INFORMATION
    DONE_BY_OTHERS = "done-by-others", Level.INFORMATION
    VANISHED = "vanished", Level.INFORMATION
    DEAD_LETTERS = "dead-letters", Level.INFORMATION

    HANDLERS_FAIL = "handlers-fail", Level.FAULT
    NO_CONSUMER = "no-consumer", Level.FAULT
    UNSERVED_LANE = "unserved-lane", Level.FAULT
    STANDSTILL = "standstill", Level.FAULT
    ALL_FAIL = "all-fail", Level.FAULT
    GROUP_MISSING = "group-missing", Level.WARNING
    NO_HANDLER = "no-handler", Level.WARNING
    PAUSED = "paused", Level.WARNING
    HELD_BY_DEAD = "held-by-dead", Level.WARNING
    SUSPECTS = "suspects", Level.WARNING
    BEHIND = "behind", Level.WARNING
    SLOW_HANDLERS = "slow-handlers", Level.WARNING
    FAILING = "failing", Level.WARNING
    DEAD_LETTERS_GROW = "dead-letters-grow", Level.WARNING
    LONG_RUNS = "long-runs", Level.INFORMATION
    IDLE = "idle", Level.INFORMATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault, or a fact worth knowing.

    `code` says which kind of finding it is. `subject` is a connection, a database, a stream or `stream:group`.
    `message` says what is wrong there, `evidence` how that is known, and `fix` which command or setting puts it right.
    """

    code: Code
    subject: str
    message: str
    evidence: str
    fix: str

    @property
    def level(self) -> Level:
        """How bad the finding is."""
        return self.code.level
