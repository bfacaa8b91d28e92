"""What becomes of one delivery: a value that the executor makes and the store settles.

An outcome says what is to be done, not how: no Redis in here, and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["HANDLED", "REPEATED", "Ack", "DeadLetter", "Failure", "Outcome", "Reason", "RetryLater"]


class Reason(StrEnum):
    """Why a message became a dead letter; stored with it and filtered by in the admin."""

    REJECTED = "rejected"
    EXHAUSTED = "retries exhausted"
    NOT_RETRIED = "not retried"
    NO_HANDLER = "no handler"
    INVALID = "invalid"
    CRASHED = "crashed the worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is known of a run that failed: the handler's dotted name, the error in a line, the traceback."""

    handler: str = ""
    error: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """The handler returned; or nothing was run, and the message counts as `skipped` or `repeated`.

    It is skipped where no handler takes it and the group leaves such out, repeated where its effect was committed
    before.
    """

    skipped: bool = False
    repeated: bool = False

    @property
    def total(self) -> str:
        """The name of the group's total that counts it."""
        return "skipped" if self.skipped else "repeated" if self.repeated else "acknowledged"


# The outcome of nearly every run: one object for all, which is quickly told from others.
HANDLED: Final = Ack()
REPEATED: Final = Ack(repeated=True)


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Run again after `delay` seconds; `counted` tells whether this run used up a retry.

    `unavailable` tells that a database was locked, deadlocked or lost, which is no fault of the handler's.
    """

    delay: float
    failure: Failure
    counted: bool = True
    unavailable: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Never run again, unless someone replays it."""

    reason: Reason
    failure: Failure


Outcome = Ack | RetryLater | DeadLetter
