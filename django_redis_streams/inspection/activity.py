"""What the workers of each group did lately, minute by minute: how many messages, how fast, how many failures.

Each worker process adds its figures about once a second, to the minute that the server's clock shows. They are for
charts and rates; the books are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..store.observe.minutes import KEPT_MINUTES, LONGEST, MICROSECONDS, RUNS, Minutes, minutes_command, minutes_of
from .grouping import ask_each
from .paging import Problem
from .records import moment

__all__ = ["Activities", "Activity", "GroupActivity", "activity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The figures of so many `seconds` from `since` on.

    `acknowledged`, `skipped`, `repeated`, `retried`, `dead_lettered` and `claimed` count messages, `runs` the runs of
    messages. `running` is how many seconds all runs took together, `longest` the longest of them. A batch handler's
    time counts for the first message of the batch.
    """

    since: datetime
    seconds: float
    acknowledged: int = 0
    skipped: int = 0
    repeated: int = 0
    retried: int = 0
    dead_lettered: int = 0
    claimed: int = 0
    runs: int = 0
    running: float = 0.0
    longest: float = 0.0

    @property
    def settled(self) -> int:
        """How many messages were settled."""
        return self.acknowledged + self.skipped + self.repeated + self.dead_lettered

    @property
    def failures(self) -> int:
        """How many runs ended in a retry or a dead letter."""
        return self.retried + self.dead_lettered

    @property
    def rate(self) -> float:
        """How many messages were settled in a second."""
        return self.settled / self.seconds

    @property
    def mean_duration(self) -> float | None:
        """How many seconds a message took; None where none was run."""
        return self.running / self.runs if self.runs else None


@dataclass(frozen=True, slots=True)
class GroupActivity:
    """One group's minutes, the oldest first; the last minute isn't over yet."""

    stream: str
    group: str
    minutes: Sequence[Activity]

    def last(self, minutes: int) -> Activity:
        """Add up the last minutes. The current one counts with the seconds that it has lasted."""
        some = self.minutes[-minutes:]
        return Activity(
            since=some[0].since,
            seconds=sum(each.seconds for each in some),
            acknowledged=sum(each.acknowledged for each in some),
            skipped=sum(each.skipped for each in some),
            repeated=sum(each.repeated for each in some),
            retried=sum(each.retried for each in some),
            dead_lettered=sum(each.dead_lettered for each in some),
            claimed=sum(each.claimed for each in some),
            runs=sum(each.runs for each in some),
            running=sum(each.running for each in some),
            longest=max(each.longest for each in some),
        )


@dataclass(frozen=True, slots=True)
class Activities:
    """The declared groups whose figures could be read, in the order of the settings; and the problems of the others."""

    groups: Sequence[GroupActivity]
    problems: Sequence[Problem]

    def of(self, stream: str, group: str) -> GroupActivity | None:
        """Return the activity of one group, None for a group that isn't among these."""
        return next((each for each in self.groups if (each.stream, each.group) == (stream, group)), None)


def activity(*streams: str, minutes: int = 60) -> Activities:
    """Return what the workers of each declared group of these streams (default: all) did in the last minutes.

    One round trip for each server. Raises `UnknownStream`, `ConfigurationError` for settings that can't work, and
    `ValueError` for minutes that aren't kept.
    """
    if not 1 <= minutes <= KEPT_MINUTES:
        raise ValueError(f"minutes={minutes!r}: expected 1 to {KEPT_MINUTES}, for so long they are kept.")
    found, problems = ask_each(streams, lambda stream: minutes_command(stream, minutes))
    return Activities(
        [each for stream, reply in found for each in _groups(stream.name, minutes_of(stream, reply))], problems
    )


def _groups(stream: str, figures: Minutes) -> Iterator[GroupActivity]:
    now = figures.now / 1000
    for group, minutes in figures.groups.items():
        first = int(now // 60) - len(minutes) + 1
        yield GroupActivity(stream, group, [_minute((first + at) * 60, each, now) for at, each in enumerate(minutes)])


def _minute(begun: int, figures: Mapping[str, int], now: float) -> Activity:
    return Activity(
        since=moment(begun * 1000),
        # At least one second, or the rate of a minute that has just begun would be absurd.
        seconds=min(60.0, max(1.0, now - begun)),
        acknowledged=figures.get("acknowledged", 0),
        skipped=figures.get("skipped", 0),
        repeated=figures.get("repeated", 0),
        retried=figures.get("retried", 0),
        dead_lettered=figures.get("dead-lettered", 0),
        claimed=figures.get("claimed", 0),
        runs=figures.get(RUNS, 0),
        running=figures.get(MICROSECONDS, 0) / 1_000_000,
        longest=figures.get(LONGEST, 0) / 1_000_000,
    )
