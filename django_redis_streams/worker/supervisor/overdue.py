"""The runs of a process that are beyond their TIMEOUT and to blame for it: no other run kept them from ending.

A run is to blame if it could have ended and didn't: it still runs although its process (for a coroutine, its event
loop) has got on after its deadline. A run that keeps the loop from turning is to blame, too. Where nothing gets on and
nobody can see why (a handler holds the GIL), each run that may be the reason is unclear, and is run alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from ...store.consume.membership import Membership
from ..shared.scoreboard import Scoreboard, Slots

__all__ = ["SILENT", "Overdue", "gets_on", "overdue"]

# In seconds: if a process's main thread is silent for so long, none of its threads gets on: a handler holds the GIL.
SILENT = 2.0
# In seconds: a consumer's own work, settling and waiting for messages above all, may wait for servers at least so long.
_OWN_WORK = 60.0

# The number of a slot, and by when its run must have ended.
_Runs = Sequence[tuple[int, float]]


@dataclass(slots=True)
class Overdue:
    """The runs of one consumer that are beyond their time, by the numbers of their slots.

    The `guilty` runs are to blame. One of the `unclear` runs of all consumers is to blame, but nobody can see which.
    `decoding` says that the messages of the `unclear` slots are being decoded. `hangs` says that the consumer itself
    doesn't get on, so no run is to blame.
    """

    guilty: list[int] = field(default_factory=list)
    unclear: list[int] = field(default_factory=list)
    decoding: bool = False
    hangs: bool = False
    # The threads of its coroutines run only calls that should have ended. The runs to blame for those have failed.
    threads_hang: bool = False
    # Whether the consumer's other runs, which aren't overdue, may still end.
    others_get_on: bool = False

    @property
    def any(self) -> bool:
        """Whether there is something."""
        return bool(self.guilty or self.unclear or self.hangs or self.threads_hang)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one consumer is doing: a call in its thread, or coroutines, or decoding."""

    slots: Slots
    functions: _Runs
    coroutines: _Runs
    decoding: tuple[Sequence[int], float] | None

    @property
    def in_thread(self) -> bool:
        """Whether the consumer's thread runs a function or decodes: then no coroutine holds it up."""
        return bool(self.functions or self.decoding)

    @property
    def calls(self) -> list[tuple[list[int], float]]:
        """The calls that may hold the GIL: the slots and the deadline of each."""
        if self.functions:
            return [([number for number, _ in self.functions], min(deadline for _, deadline in self.functions))]
        if self.decoding:
            return [(list(self.decoding[0]), self.decoding[1])]
        return [([number], deadline) for number, deadline in self.coroutines]


def gets_on(slots: Slots, now: float) -> bool:
    """Return whether a consumer runs nothing and has got on lately: then nothing of it can be overdue at `now`."""
    return slots.rests and now - slots.got_on < _OWN_WORK


def overdue(
    scoreboard: Scoreboard, consumers: Sequence[Membership], busy: Sequence[float], now: float, *, alone: bool
) -> list[Overdue]:
    """Return what is overdue at `now`, for each consumer of a process.

    `busy` is when each consumer was last seen to run something in its thread, or to wait for a connection: name servers
    may take a minute. `alone` says that the process runs one message at a time.
    """
    seen = [_seen(each) for each in scoreboard.slots]
    found = [_seen_to_blame(each, scoreboard.ticked, now) for each in seen]
    if not any(each.any for each in found):
        for one, each in zip(found, seen, strict=True):
            _find_unseen_holder(one, each, now, alone=alone)
    if not any(each.any for each in found) and scoreboard.silent(now) > SILENT:
        _find_unseen_hold_up(found, seen, now)
    looked = zip(found, seen, consumers, busy, strict=True)
    nothing_runs = not any(each.calls for each in seen)
    for one, each, consumer, last in looked:
        by = max(each.slots.got_on, last) + max(consumer.group.timeout or inf, _OWN_WORK)
        one.hangs = _began(each) and not each.in_thread and by <= (now if nothing_runs else scoreboard.ticked)
    return found


def _seen(slots: Slots) -> _Seen:
    runs = slots.running_slots()
    functions = [each for each in runs if each[0] < slots.thread_slots]
    return _Seen(slots, functions, runs[len(functions) :], slots.decoding)


def _began(seen: _Seen) -> bool:
    return bool(seen.slots.got_on) and not seen.slots.left


def _seen_to_blame(seen: _Seen, ticked: float, now: float) -> Overdue:
    """Return the runs that could have ended, or that are seen to keep others from ending."""
    slots = seen.slots
    turned, holders = slots.turned, (not seen.in_thread and slots.holders) or ()
    functions = [number for number, deadline in seen.functions if deadline <= ticked]
    coroutines = [number for number, by in seen.coroutines if by <= turned or (number in holders and by <= ticked)]
    found = Overdue(guilty=functions + coroutines)
    if seen.decoding and seen.decoding[1] <= ticked:
        found.unclear, found.decoding = list(seen.decoding[0]), True
    goes_on = now - turned < SILENT and not seen.in_thread
    found.threads_hang = slots.held_up is not None and not slots.left
    found.others_get_on = goes_on and len(seen.coroutines) > len(coroutines) + (slots.held_up or 0)
    return found


def _find_unseen_holder(found: Overdue, seen: _Seen, now: float, *, alone: bool) -> None:
    """Blame a consumer's coroutines if something else than a step of their own keeps the loop from turning.

    That is a task that a coroutine has started, or has left behind.
    """
    stood = now - seen.slots.turned > SILENT and not seen.in_thread
    if not stood or seen.slots.holders != frozenset() or not _some_late(seen, now):
        return
    numbers = [number for number, _ in seen.coroutines]
    if alone and len(numbers) == 1:
        found.guilty = numbers
    else:
        found.unclear = numbers


def _find_unseen_hold_up(found: Sequence[Overdue], seen: Sequence[_Seen], now: float) -> None:
    """Blame the calls of a process whose threads don't get on: a single call is guilty, of several each is unclear."""
    if not any(_some_late(each, now) for each in seen):
        return
    one_call = sum(len(each.calls) for each in seen) == 1
    for one, each in zip(found, seen, strict=True):
        numbers = [number for numbers, _ in each.calls for number in numbers]
        one.decoding = bool(each.decoding) and not each.functions
        if one_call and not one.decoding:
            one.guilty = numbers
        else:
            one.unclear = numbers


def _some_late(seen: _Seen, now: float) -> bool:
    return any(deadline <= now for _, deadline in seen.calls)
