"""What the supervisor reads of a process: memory shared with it, without a lock or a system call.

A process that is killed at any moment leaves nothing locked, and what it wrote last stays readable: which
messages it was running, by when each must have ended, when it last got on, and how many it has settled.
"""

from __future__ import annotations

import mmap
import time
from array import array
from collections.abc import Iterable, Sequence

from ...conf import GroupConfig, StreamConfig
from ...keys import split_token, token
from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership

__all__ = ["Scoreboard", "Slots"]

_DOUBLE = 8
# Bytes of the sentence that says why a process gives up, which may name several settings.
_SENTENCE = 8192
# Two numbers of up to 20 digits, and the characters between them, before them (after the key) and after them.
_ENTRY_ID = 43
# In seconds: a process that didn't tick for so long stood still, with all that it runs.
_STOOD = 2.0

# The marks beside the slots, a double each. The first are 0 at rest, as the deadlines are that stand before them.
_DECODED_BY, _HELD_UP, _SETTLED, _LEFT, _GOT_ON, _TURNED, _NOTED, _DECODES, _HELD, _UNTOLD = range(10)
_MARKS, _MARKS_AT_REST = 10, 2
# How a consumer has left.
_ENDED, _REFUSED = 1.0, 2.0


class Slots:
    """What one consumer runs: a slot for each entry, in memory shared with the supervisor. There is one writer.

    A slot runs while its deadline isn't 0. `deadlines` is written to directly: right before a handler is called, by
    when it must have ended on the monotonic clock, which all processes share (`inf` for never); and 0 after it.
    The first `thread_slots` are for runs one after another, `coroutine_slots` for coroutines.

    Beside the slots stand marks: when the consumer's thread last got on, when its event loop last turned, what is seen
    to keep the loop from turning, and which slots' messages are being decoded.
    """

    def __init__(self, stream: StreamConfig, group: GroupConfig) -> None:
        self.thread_slots = group.batch_size
        slots = self.thread_slots + max(group.batch_size, group.async_concurrency)
        self.coroutine_slots = range(self.thread_slots, slots)
        self._width = max(len(key.encode()) for key in Membership(stream, group, "").sources) + _ENTRY_ID
        self._memory = mmap.mmap(-1, (slots + _MARKS) * _DOUBLE + slots * self._width + len(self.coroutine_slots))
        memory = memoryview(self._memory)
        doubles = memory[: (slots + _MARKS) * _DOUBLE].cast("d")
        self.deadlines = doubles[:slots]
        self._marks = doubles[slots:]
        self._at_rest = bytes((slots + _MARKS_AT_REST) * _DOUBLE)
        # The first slots have a line each; the others so many bytes each, since they are named one by one.
        texts = memory[(slots + _MARKS) * _DOUBLE :]
        self._lines = texts[: self.thread_slots * self._width]
        self._names = texts[self.thread_slots * self._width : slots * self._width]
        # A byte for each slot of a coroutine: whether the coroutine was seen to keep the loop from turning.
        self._holders = texts[slots * self._width :]

    def name_batch(self, deliveries: Sequence[Delivery]) -> None:
        """Say which entries the first slots stand for. None of them may be running."""
        key = deliveries[0].key
        if [each.key for each in deliveries].count(key) == len(deliveries):  # mostly so: then the key stands there once
            lines = f"{key}/" + "\0".join([each.entry_id for each in deliveries])
        else:
            lines = "\0".join([each.token for each in deliveries])
        text = f"{lines}\0".encode()
        self._lines[: len(text)] = text

    def name_coroutines(self, deliveries: Sequence[Delivery], first: int) -> None:
        """Say which entries the slots of coroutines from `first` on stand for. None of these slots may be running."""
        names = b"".join([each.token.encode().ljust(self._width) for each in deliveries])
        begin = (first - self.thread_slots) * self._width
        self._names[begin : begin + len(names)] = names

    def run(self, slots: Sequence[int], deadline: float) -> None:
        """Note that these slots, which ascend, run until the deadline, or have ended if it is 0."""
        first, count = slots[0], len(slots)
        if slots[-1] - first == count - 1:
            self.deadlines[first : first + count] = array("d", (deadline,)) * count
        else:
            for slot in slots:
                self.deadlines[slot] = deadline

    def decode(self, count: int, deadline: float) -> None:
        """Note that the messages of the first `count` slots are being decoded, and must be by the deadline."""
        self._marks[_DECODES] = count
        self._marks[_DECODED_BY] = deadline

    def decoded(self) -> None:
        """Note that the messages are decoded."""
        self._marks[_DECODED_BY] = 0.0

    def get_on(self, now: float) -> None:
        """Note that the consumer's thread gets on: before each read at least, unless a handler runs in it."""
        self._marks[_GOT_ON] = now

    def turn(self, now: float) -> None:
        """Note that the consumer's event loop turns, and so its thread gets on."""
        self._marks[_TURNED] = self._marks[_GOT_ON] = now

    def note(self, holders: Iterable[int], turned: float) -> None:
        """Note which slots, if any, have kept the loop from turning since it did at `turned`; for another thread."""
        self._marks[_NOTED] = 0.0
        noted = bytearray(len(self._holders))
        for slot in holders:
            noted[slot - self.thread_slots] = 1
        self._holders[:] = noted
        self._marks[_NOTED] = turned

    def note_threads(self, waiting: int | None) -> None:
        """Note how many coroutines wait for threads whose calls don't return; None if the threads get on."""
        self._marks[_HELD_UP] = 0 if waiting is None else 1 + waiting

    # ------------------------------------------------------------ reading

    @property
    def held_up(self) -> int | None:
        """How many coroutines wait for threads whose calls don't return; None if the threads get on."""
        noted = int(self._marks[_HELD_UP])
        return noted - 1 if noted else None

    @property
    def rests(self) -> bool:
        """Whether nothing runs or is being decoded, and no thread is held up.

        That is one look at the memory, because the supervisor asks it of hundreds of consumers twice a second.
        """
        return self._memory[: len(self._at_rest)] == self._at_rest

    def running_slots(self) -> list[tuple[int, float]]:
        """Return each slot that runs, with its deadline."""
        return [(slot, deadline) for slot, deadline in enumerate(self.deadlines.tolist()) if deadline]

    def thread_runs(self) -> list[int]:
        """Return the slots of the consumer's thread that run: those of one call."""
        return [slot for slot, deadline in enumerate(self.deadlines[: self.thread_slots].tolist()) if deadline]

    @property
    def runs(self) -> bool:
        """Whether anything runs, or is being decoded."""
        return bool(self._marks[_DECODED_BY]) or any(self.deadlines.tolist())

    @property
    def in_thread(self) -> bool:
        """Whether the consumer's thread runs a handler's function, or decodes."""
        return bool(self._marks[_DECODED_BY] or self.thread_runs())

    def running(self) -> list[tuple[str, float]]:
        """Return the token and the deadline of each slot that runs; for the supervisor."""
        found = self.running_slots()
        names = self.names([slot for slot, _ in found])
        return [(name, deadline) for name, (_, deadline) in zip(names, found, strict=True)]

    @property
    def decoding(self) -> tuple[range, float] | None:
        """The slots whose messages are being decoded, and by when they must be; None where none are."""
        deadline = self._marks[_DECODED_BY]
        return (range(int(self._marks[_DECODES])), deadline) if deadline else None

    @property
    def got_on(self) -> float:
        """When the consumer's thread last got on; 0 where it hasn't begun."""
        return self._marks[_GOT_ON]

    @property
    def turned(self) -> float:
        """When its event loop last turned."""
        return self._marks[_TURNED]

    @property
    def holders(self) -> frozenset[int] | None:
        """The slots that were seen to keep the loop from turning since it last did; None where nobody has looked."""
        if not self.turned or self._marks[_NOTED] != self.turned:
            return None
        return frozenset(slot for slot, noted in zip(self.coroutine_slots, bytes(self._holders), strict=True) if noted)

    def settle(self, count: int) -> None:
        """Count `count` more messages that the consumer has settled."""
        self._marks[_SETTLED] += count

    def leave(self, *, refused: bool = False) -> None:
        """Note that the consumer has ended: it has settled what it ran and handed back the rest, or never will.

        `refused` says that it couldn't, though its server was reached: a rescuer tries that again.
        """
        self._marks[_LEFT] = _REFUSED if refused else _ENDED

    def leave_behind(self, held: int, untold: int) -> None:
        """Note how many messages stay pending for the consumer, and the outcomes of how many couldn't be told."""
        self._marks[_HELD], self._marks[_UNTOLD] = held, untold

    @property
    def left_behind(self) -> tuple[int, int]:
        """How many messages stay pending for the consumer, and the outcomes of how many couldn't be told."""
        return int(self._marks[_HELD]), int(self._marks[_UNTOLD])

    @property
    def left(self) -> bool:
        """Whether the consumer has ended."""
        return self._marks[_LEFT] > 0

    @property
    def left_refused(self) -> bool:
        """Whether the consumer has ended and couldn't settle or hand back all, though its server was reached."""
        return self._marks[_LEFT] == _REFUSED

    @property
    def settled(self) -> int:
        """How many messages the consumer has settled."""
        return int(self._marks[_SETTLED])

    def names(self, slots: Sequence[int]) -> list[str]:
        """Return the tokens of the entries that these slots stand for."""
        lines = bytes(self._lines).split(b"\0") if slots else []
        return [self._named(slot, lines) for slot in slots]

    def _named(self, slot: int, lines: Sequence[bytes]) -> str:
        if slot < self.thread_slots:
            name = lines[slot].decode()
            return name if "/" in name else token(split_token(lines[0].decode())[0], name)
        begin = (slot - self.thread_slots) * self._width
        return bytes(self._names[begin : begin + self._width]).rstrip(b" ").decode()


class Scoreboard:
    """The slots of all consumers of one process, in their order; made before the process is forked."""

    def __init__(self, targets: Iterable[tuple[StreamConfig, GroupConfig]]) -> None:
        self.slots = [Slots(*each) for each in targets]
        self._marks = mmap.mmap(-1, 5)
        self._sentence = mmap.mmap(-1, _SENTENCE)
        self._memory = mmap.mmap(-1, 2 * _DOUBLE)
        self._times = memoryview(self._memory).cast("d")
        self._times[0] = time.monotonic()

    def tick(self) -> None:
        """Note, several times a second in the main thread, that the process gets on, or is about to begin."""
        now = time.monotonic()
        stood = now - self._times[0]
        if stood > _STOOD:
            self._times[1] = now + stood
        self._times[0] = now

    @property
    def ticked(self) -> float:
        """When the process last got on; 0 for as long after a standstill as that lasted.

        Somebody may have stopped the process, or a handler held the GIL. What was running has that time to end.
        """
        ticked, excused = self._times
        return ticked if ticked > excused else 0.0

    def silent(self, now: float) -> float:
        """For how many seconds the process hasn't ticked: a handler may hold the GIL."""
        return now - self._times[0]

    def end_well(self) -> None:
        """Note that all consumers have settled what they ran and handed back the rest: the process ends."""
        self._marks[2] = 1

    @property
    def ended_well(self) -> bool:
        """Whether the process came to its end; a handler can end it with exit code 0 too."""
        return self._marks[2] == 1

    def give_up(self, why: str) -> None:
        """Note why the process ends, as any other would: its configuration can't work."""
        text = why.encode("utf-8", "backslashreplace")[: _SENTENCE - 1]
        self._sentence[: len(text) + 1] = text + b"\0"

    @property
    def given_up(self) -> str:
        """Why the process has given up; "" if it hasn't."""
        return self._sentence[:].partition(b"\0")[0].decode("utf-8", "ignore")

    def see_suspects(self) -> None:
        """Note that the process has seen suspects on the server."""
        self._marks[1] = 1

    def forget_suspects(self) -> None:
        """Forget suspects that were seen and are looked after; those that are left will be seen again."""
        self._marks[1] = 0

    @property
    def sees_suspects(self) -> bool:
        """Whether there are suspects on the server that a quarantine should look after."""
        return self._marks[1] == 1

    @property
    def left_full(self) -> bool:
        """Whether the process has ended for its memory's sake, and held nothing any more."""
        return self._marks[0] == 1

    def leave_full(self) -> None:
        """Note that the process ends for its memory's sake: it has settled what it ran, and handed back the rest."""
        self._marks[0] = 1

    def leave_deleted(self) -> None:
        """Note that the process ends because all its groups were deleted on purpose: no other takes its place."""
        self._marks[3] = 1

    @property
    def left_deleted(self) -> bool:
        """Whether the process has ended because all of its groups were deleted."""
        return self._marks[3] == 1

    def leave_unreached(self) -> None:
        """Note that the process has ended without a server that it couldn't reach."""
        self._marks[4] = 1

    @property
    def left_unreached(self) -> bool:
        """Whether the process has ended without a server that it couldn't reach."""
        return self._marks[4] == 1

    @property
    def left_behind(self) -> tuple[int, int]:
        """How many messages stay pending for its consumers, and the outcomes of how many couldn't be told."""
        each = [slots.left_behind for slots in self.slots]
        return sum(held for held, _ in each), sum(untold for _, untold in each)

    @property
    def settled(self) -> int:
        """How many messages the process has settled."""
        return sum(each.settled for each in self.slots)
