"""Replaying or discarding any number of dead letters: in parts, at a rate, with a result for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter

from ...exceptions import ServerUnreachable, StreamsError
from ...inspection import DeadLetter
from ...inspection.paging import taken
from ...store.operate.bulk import Answers
from .replaying import discard, replay

__all__ = ["Done", "discard_each", "replay_each"]

_MOST_AT_ONCE = 100
# In seconds. With a rate, a part is what the rate allows in this time: the load is even, and a stop is quick.
_STEP = 0.1


@dataclass(frozen=True, slots=True)
class Done:
    """The result of one dead letter: done, or `refused`, or `unanswered` if the server's answer was lost."""

    row: DeadLetter
    refused: StreamsError | None = None
    unanswered: bool = False


def replay_each(rows: Iterable[DeadLetter], *, by: str, rate: float | None = None) -> Iterator[Done]:
    """Replay these, at most `rate` a second, as the results are asked for.

    The caller may stop at any moment: each dead letter was replayed or not, none half or twice. Raises
    `ServerUnreachable` once the server can't be asked any more, after the results of what was sent; and what `replay`
    raises.
    """
    return _each(rows, partial(replay, by=by), rate)


def discard_each(rows: Iterable[DeadLetter], *, by: str, rate: float | None = None) -> Iterator[Done]:
    """Discard these dead letters; otherwise as `replay_each`."""
    return _each(rows, partial(discard, by=by), rate)


def _each(
    rows: Iterable[DeadLetter], change: Callable[[str, Sequence[str]], Answers[str]], rate: float | None
) -> Iterator[Done]:
    waiting, began, sent = iter(rows), time.monotonic(), 0
    at_once = _MOST_AT_ONCE if rate is None else max(1, min(_MOST_AT_ONCE, int(rate * _STEP)))
    while part := taken(waiting, at_once, attrgetter("held")):
        if rate is not None:
            time.sleep(max(0.0, began + sent / rate - time.monotonic()))
        sent += len(part)
        for stream, theirs in groupby(sorted(part, key=attrgetter("stream")), attrgetter("stream")):
            some = list(theirs)
            answers = change(stream, [row.entry_id for row in some])
            yield from _results(some, answers)
            for error in answers.refused.values():
                if isinstance(error, ServerUnreachable):
                    raise error


def _results(rows: Sequence[DeadLetter], answers: Answers[str]) -> Iterator[Done]:
    unanswered = frozenset(answers.unanswered)
    for row in rows:
        yield Done(row, answers.refused.get(row.entry_id), row.entry_id in unanswered)
