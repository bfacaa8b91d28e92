"""What consumers have done, in counts that only ever grow: memory that other processes read.

Each count is written by one thread at a time, so there is no lock here and no system call; others read it at any
moment, at most a batch behind. The memory is made before any process is forked, and outlives those that write to it: a
process that takes the place of another counts on from where that left off.

The server is told, for the figures of the minute, what wasn't sent to it yet. What was sent stands here too, so that
the rescuer of a dead process sends what that could not.
"""

from __future__ import annotations

import mmap
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...conf import GroupConfig, StreamConfig
from ...metrics import BOUNDS
from ...outcomes import Ack, DeadLetter, Outcome
from ...store.observe.minutes import MICROSECONDS, RUNS

__all__ = ["COUNTED", "ConsumerCounters", "CountersReading", "Histogram", "ProcessCounters", "WorkerCounters"]

_DOUBLE: Final = 8

# Messages by what became of them, in the words of the group's totals; and those claimed from another consumer.
COUNTED: Final = ("acknowledged", "skipped", "repeated", "retried", "dead-lettered", "claimed")
_ACKNOWLEDGED, _SKIPPED, _REPEATED, _RETRIED, _DEAD, _CLAIMED = range(len(COUNTED))
# What the server is told.
_FIGURES: Final = (*COUNTED, RUNS, MICROSECONDS)
_LONGEST, _TURNED, _BUSY, _WELL, _AHEAD, _LOOKED, _OPENS, _DURATIONS = range(len(COUNTED), len(COUNTED) + 8)
# A look at the server's clock says nothing any more after so many seconds. Each process looks every 30 seconds or more
# often.
_LATE: Final = 90.0
# A bucket for each bound, one for what is above, and the sum.
_HISTOGRAM: Final = len(BOUNDS) + 2
_LATENCY: Final = _DURATIONS + _HISTOGRAM
_SENT: Final = _LATENCY + _HISTOGRAM
_SIZE: Final = _SENT + len(_FIGURES)


# By whom the counters of a process are used; 0 by nobody.
_WORKS, _QUARANTINE = 1.0, 2.0


def _shared(size: int) -> memoryview[float]:
    return memoryview(mmap.mmap(-1, size * _DOUBLE)).cast("d")


class Histogram:
    """How many values there were up to each of BOUNDS, and their sum; in seconds."""

    def __init__(self, numbers: memoryview[float]) -> None:
        self._numbers = numbers

    @staticmethod
    def bucket(value: float) -> int:
        """Return the number of the bucket that a value belongs to."""
        return bisect_left(BOUNDS, value)

    def add(self, values: Sequence[float]) -> float:
        """Add some values, and return the largest.

        Mostly all values are small: then a few steps add them all.
        """
        self._numbers[-1] += sum(values)
        largest = max(values)
        if largest <= BOUNDS[0]:
            self._numbers[0] += len(values)
        else:
            for value in values:
                self._numbers[bisect_left(BOUNDS, value)] += 1
        return largest

    def add_alike(self, bucket: int, count: int, total: float) -> None:
        """Add so many values of one bucket."""
        self._numbers[bucket] += count
        self._numbers[-1] += total

    def read(self) -> Sequence[float]:
        """Return the count of each bucket, then the sum."""
        return list(self._numbers)


@dataclass(frozen=True, slots=True)
class CountersReading:
    """What the counters showed: counts in the order of COUNTED, durations of runs, and times from publish to run.

    Durations and times are each the count of each bucket of BOUNDS, the count of what is above, and the sum.
    """

    counts: Sequence[int]
    durations: Sequence[float]
    latency: Sequence[float]

    @property
    def runs(self) -> int:
        """How often a message was run."""
        return int(sum(self.durations[:-1]))

    @property
    def seconds(self) -> float:
        """How long all runs took."""
        return self.durations[-1]


class ConsumerCounters:
    """The numbers of one consumer."""

    def __init__(self, stream: str = "", group: str = "") -> None:
        self.stream, self.group = stream, group
        self._numbers = numbers = _shared(_SIZE)
        self._durations = Histogram(numbers[_DURATIONS:_LATENCY])
        self.latency = Histogram(numbers[_LATENCY:_SENT])
        self._sent = numbers[_SENT:]
        # A number that changes with whatever the consumer does here: it runs, settles or claims messages. Hundreds of
        # idle consumers are asked for it each second.
        self.activity = 0
        # What it was when all was sent. Another process may have left something when this one begins.
        self._activity_sent = -1

    def settled(self, outcome: Outcome, count: int) -> None:
        """Count messages that the server has settled with outcomes of this kind."""
        if isinstance(outcome, Ack):
            self._numbers[_SKIPPED if outcome.skipped else _REPEATED if outcome.repeated else _ACKNOWLEDGED] += count
        else:
            self._numbers[_DEAD if isinstance(outcome, DeadLetter) else _RETRIED] += count
        self.activity += 1

    def claimed(self, count: int) -> None:
        """Count messages that were claimed."""
        self._numbers[_CLAIMED] += count
        self.activity += 1

    def ran(self, durations: Sequence[float]) -> None:
        """Count messages that were run, by how many seconds each took.

        Called once a batch.
        """
        self._numbers[_LONGEST] = max(self._numbers[_LONGEST], self._durations.add(durations))
        self.activity += 1

    def retried(self) -> None:
        """Count a run that ended with its process: its message runs again, in quarantine."""
        self._numbers[_RETRIED] += 1
        self.activity += 1

    def add(self, other: ConsumerCounters) -> None:
        """Count all that another consumer's counters show; nobody writes to those any more."""
        for numbers in (range(len(COUNTED)), range(_DURATIONS, _SENT)):
            for number in numbers:
                self._numbers[number] += other._numbers[number]
        self.activity += 1

    @property
    def has_unsent(self) -> bool:
        """Whether the server wasn't told of everything that was done."""
        activity = self.activity  # before the look: what is counted meanwhile is seen by this one or the next
        if activity != self._activity_sent and list(self._figures().values()) == list(self._sent):
            self._activity_sent = activity
        return activity != self._activity_sent

    def take_unsent(self) -> Mapping[str, int]:
        """Return the figures that the server wasn't told, without zeros; they count as sent from now on."""
        self._activity_sent = self.activity  # before the look, as above
        unsent = {}
        for number, (name, count) in enumerate(self._figures().items()):
            if fresh := count - int(self._sent[number]):
                unsent[name] = fresh
                self._sent[number] = count
        return unsent

    def inherit_unsent(self, dead: ConsumerCounters) -> None:
        """Take over the figures that a dead process didn't send, for `take_unsent`, without counting them again."""
        unsent = dead.take_unsent()
        for number, name in enumerate(_FIGURES):
            self._sent[number] -= unsent.get(name, 0)
        self._activity_sent = -1
        self._numbers[_LONGEST] = max(self._numbers[_LONGEST], dead.take_longest())

    def _figures(self) -> Mapping[str, int]:
        read = self.read()
        return dict(zip(_FIGURES, (*read.counts, read.runs, round(read.seconds * 1_000_000)), strict=True))

    def take_longest(self) -> float:
        """Return the longest run since the last call, in seconds.

        A run that ends in this very moment may be missed.
        """
        longest, self._numbers[_LONGEST] = self._numbers[_LONGEST], 0.0
        return longest

    def turned(self, *, well: bool) -> None:
        """Note that the consumer's loop has turned, and whether its connection is good and its group is there."""
        self._numbers[_TURNED] = time.monotonic()
        self._numbers[_BUSY] = 0.0
        self._numbers[_WELL] = float(well)

    def opens_connection(self) -> None:
        """Note that a connection is being opened from now on, until `opened_connection`."""
        self._numbers[_OPENS] = time.monotonic()

    def opened_connection(self) -> None:
        """Note that the consumer waits for a connection no more: from now on its loop is to turn again."""
        self._numbers[_TURNED] = time.monotonic()
        self._numbers[_OPENS] = 0.0

    @property
    def opens_since(self) -> float | None:
        """Since when a connection is being opened, on the monotonic clock; None where none is."""
        return self._numbers[_OPENS] or None

    def runs_batch(self) -> None:
        """Note that handlers run from now on, until the loop turns: they may take as long as they need."""
        self._numbers[_BUSY] = 1.0

    def left(self, *, well: bool) -> None:
        """Note that the consumer ends, while others of its process may go on: nobody waits for its turns.

        It ends `well` where it has nothing to do any more.
        """
        self._numbers[_WELL] = float(well)
        self._numbers[_BUSY] = 1.0

    def begin(self) -> None:
        """Note that another process begins to use these counters."""
        self.turned(well=False)
        self._numbers[_LONGEST] = self._numbers[_OPENS] = 0.0

    def saw_clock(self, ahead: float) -> None:
        """Note that the server's clock shows so many seconds more than this host's, by a look just now."""
        self._numbers[_AHEAD] = ahead
        self._numbers[_LOOKED] = time.monotonic()

    @property
    def clock_ahead(self) -> float | None:
        """How many seconds more the server's clock shows, at least; None where nobody has looked lately."""
        looked = self._numbers[_LOOKED]
        return self._numbers[_AHEAD] if looked and time.monotonic() - looked < _LATE else None

    @property
    def well(self) -> bool:
        """Whether the last turn found the server and the group."""
        return self._numbers[_WELL] == 1

    @property
    def silent_for(self) -> float:
        """Seconds since the loop last turned; 0 while handlers run or a connection opens, and when it has ended."""
        excused = self._numbers[_BUSY] or self._numbers[_OPENS]
        return 0.0 if excused else max(0.0, time.monotonic() - self._numbers[_TURNED])

    @property
    def opens_for(self) -> float:
        """For how many seconds a connection is being opened; 0 where none is."""
        since = self.opens_since
        return 0.0 if since is None else max(0.0, time.monotonic() - since)

    def read(self) -> CountersReading:
        """Return what the counters show now."""
        counts = [int(each) for each in self._numbers[: len(COUNTED)]]
        return CountersReading(counts, self._durations.read(), self.latency.read())


class ProcessCounters:
    """The counters of one process' consumers, in their order; for one process at a time."""

    def __init__(self, targets: Sequence[tuple[StreamConfig, GroupConfig]]) -> None:
        self.consumers = [ConsumerCounters(stream.name, group.name) for stream, group in targets]
        # Those that the process writes to: a quarantine has one consumer of each group.
        self.active = self.consumers
        self._used = _shared(1)

    @property
    def used(self) -> bool:
        """Whether a process writes here."""
        return self._used[0] > 0

    @property
    def works(self) -> bool:
        """Whether a process writes here that is no quarantine, so that it tells how well the worker is."""
        return self._used[0] == _WORKS

    def begin(self, *, quarantine: bool = False) -> None:
        """Take the counters into use, for a process that is about to begin."""
        self.active = self._one_a_group if quarantine else self.consumers
        for each in self.active:
            each.begin()
        self._used[0] = _QUARANTINE if quarantine else _WORKS

    @property
    def _one_a_group(self) -> list[ConsumerCounters]:
        return list({(each.stream, each.group): each for each in self.consumers}.values())

    def end(self) -> None:
        """Note that the process which used the counters has ended."""
        self._used[0] = 0.0


class WorkerCounters:
    """The counters of a worker that is to have so many processes, and what its supervisor says of itself.

    There are more counters than processes: a process that is being replaced may still run beside its replacement, and
    a quarantine beside all. What rescuers have counted is `rescued`, which the supervisor alone writes to.
    """

    def __init__(self, targets: Sequence[tuple[StreamConfig, GroupConfig]], processes: int) -> None:
        self.groups = list(dict.fromkeys((stream.name, group.name) for stream, group in targets))
        self.process_count = processes
        self.processes = [ProcessCounters(targets) for _ in range(2 * processes + 4)]
        self.rescued = [ConsumerCounters(*each) for each in self.groups]
        self._spare = targets
        self._supervisor = _shared(2)

    def take(self, *, quarantine: bool = False) -> ProcessCounters:
        """Return counters for a process that is about to be forked; if all are used, new ones that nobody reads."""
        counters = next((each for each in self.processes if not each.used), None) or ProcessCounters(self._spare)
        counters.begin(quarantine=quarantine)
        return counters

    def add_rescued(self, counted: ConsumerCounters) -> None:
        """Add what a rescuer has counted of one group."""
        self.rescued[self.groups.index((counted.stream, counted.group))].add(counted)

    def of(self, stream: str, group: str) -> list[CountersReading]:
        """Return what all counters of a group show, those of processes included that have ended."""
        every = [*self.rescued, *(each for process in self.processes for each in process.consumers)]
        return [each.read() for each in every if (each.stream, each.group) == (stream, group)]

    def beat(self, *, stopping: bool) -> None:
        """Note that the supervisor's loop has turned, and whether the worker stops."""
        self._supervisor[0] = time.monotonic()
        self._supervisor[1] = float(stopping)

    @property
    def silent_for(self) -> float:
        """Seconds since the supervisor's loop last turned."""
        return max(0.0, time.monotonic() - self._supervisor[0])

    @property
    def stopping(self) -> bool:
        """Whether the worker was told to stop."""
        return self._supervisor[1] == 1
