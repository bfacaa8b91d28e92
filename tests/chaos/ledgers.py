"""Ledgers: files that processes append to, a line at a time, so that a line is there though its process is killed."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..support.notes import whole_lines


class Fate(StrEnum):
    """What a message tells its handlers to do."""

    RETURN = "return"
    FAIL_ONCE = "fail once"
    REJECT = "reject"


class State(StrEnum):
    """What a publisher knows of a message. `UNSURE` is also what was begun by one that was killed."""

    ACKNOWLEDGED = "acknowledged"
    UNSURE = "unsure"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Publication:
    """A message that a publisher has begun to publish, in one of the ways `HOW` of the publisher."""

    number: str
    stream: str
    how: str
    fate: Fate
    began: float
    state: State = State.UNSURE
    error: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A call of a handler for a message. `ended` is None where it didn't come to its end."""

    stream: str
    group: str
    number: str
    attempt: int
    pid: int
    began: float
    ended: float | None = None


class Ledger:
    """A ledger to append to."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def note(self, *words: Any) -> None:
        """Append a line with the time."""
        os.write(self._file, f"{json.dumps([*words, time.time()])}\n".encode())


def lines(path: Path) -> Iterator[list[Any]]:
    """Yield the lines of a ledger; none where nobody has written it."""
    yield from map(json.loads, whole_lines(path))


def publications(path: Path) -> dict[str, Publication]:
    """Read the publishers' ledger: by number, how the publishing of each message ended."""
    found: dict[str, Publication] = {}
    for what, *rest in lines(path):
        if what == "begun":
            number, stream, how, fate, began = rest
            found[number] = Publication(number, stream, how, Fate(fate), began)
        else:
            number, error, _ = rest
            begun = found[number]
            # A signal may have told that it failed, before the transaction returned.
            if begun.error == "":
                known = begun.number, begun.stream, begun.how, begun.fate, begun.began
                found[number] = Publication(*known, State(what), error)
    return found


def runs(path: Path) -> list[Run]:
    """Read the handlers' ledger: all runs, in the order in which they began."""
    found: list[Run] = []
    going: dict[tuple[Any, ...], int] = {}
    for what, stream, group, number, attempt, pid, when in lines(path):
        key = (stream, group, number, attempt, pid)
        if what == "began":
            going[key] = len(found)
            found.append(Run(*key, began=when))
        elif key in going:
            at = going.pop(key)
            found[at] = Run(*key, began=found[at].began, ended=when)
    return found
