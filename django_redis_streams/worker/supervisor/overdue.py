"""Which runs of a process are beyond their TIMEOUT, and to blame for that: not those that another kept from ending.

A run is to blame where it could have ended and didn't: it is still there although its process, or for a coroutine its
event loop, has got on after its deadline; or it is what keeps the loop from turning. Where nothing gets on and nobody
can see why (a handler holds the GIL), each that may be the reason is unclear, and is run alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from ...store.consume.membership import Membership
from ..shared.scoreboard import Scoreboard, Slots

__all__ = ["SILENT", "Overdue", "overdue"]

# In seconds: a process whose main thread is silent for so long gets no thread on: a handler holds the GIL.
SILENT = 2.0
# In seconds: what a consumer does by itself, settling above all, may wait for servers at least so long.
_OWN_WORK = 60.0

# The number of a slot, and by when what stands there must have ended.
_Runs = Sequence[tuple[int, float]]


@dataclass(slots=True)
class Overdue:
    """What of one consumer is beyond its time, by the numbers of slots.

    `guilty` are to blame. Of `unclear`, and those of the other consumers, one is.
    `decoding`: it is about messages that are being decoded, in the slots that it says. `hangs`: the consumer itself
    doesn't get on, so nobody is to blame.
    """

    guilty: list[int] = field(default_factory=list)
    unclear: list[int] = field(default_factory=list)
    decoding: bool = False
    hangs: bool = False
    # The threads of its coroutines run only calls that were to have ended: who was to blame for these has failed.
    threads_hang: bool = False
    # Whether what isn't overdue beside it may still end.
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
        """Whether its thread runs a function or decodes: then no coroutine is what keeps it."""
        return bool(self.functions or self.decoding)

    @property
    def calls(self) -> list[tuple[list[int], float]]:
        """What may hold the GIL, each by its slots."""
        if self.functions:
            return [([number for number, _ in self.functions], min(deadline for _, deadline in self.functions))]
        if self.decoding:
            return [(list(self.decoding[0]), self.decoding[1])]
        return [([number], deadline) for number, deadline in self.coroutines]


def overdue(
    scoreboard: Scoreboard, consumers: Sequence[Membership], busy: Sequence[float], now: float, *, alone: bool
) -> list[Overdue]:
    """For each consumer of a process what is overdue at `now`.

    `busy` is when each was last seen to run something; `alone` says that the process runs one message at a time.
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
    """Return which runs could have ended, or are seen to keep others from it."""
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
    """Blame a consumer's coroutines where its loop is kept from turning by what isn't a run's own step.

    That is a task that one of them has started, or has left behind.
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
    """No thread of the process gets on: any call in it may be why, unless there is but one."""
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
