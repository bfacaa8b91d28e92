"""Looks after one stream: trims it, enters into the books what others did, removes names of consumers that are gone.

Each of these costs the server much more than a look at what may be claimed. So all are done the more rarely the longer
nothing happens in the stream.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from math import inf

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...connections import Link
from ...store.consume.asking import Asking, replies_to, together
from ...store.consume.books import undeclared_lanes_of, watching
from ...store.consume.consumers import retiring
from ...store.consume.groups import delivered_to, make_group
from ...store.consume.membership import Membership
from ...store.consume.presence import consumers_command
from ...store.consume.trim import excess_commands, has_excess, trim
from ...store.observe.lanes import left_in_lanes
from ..log.lines import about, log_done_by_others, logger
from ..timing import Timing
from .chores import Chore
from .claimable import GroupLook
from .refusals import Refusals

__all__ = ["StreamUpkeep"]

# However many processes share the upkeep, each does at least this share of it, as the others may have died since they
# were counted. They are counted more often.
_LEAST_SHARE, _LEAST_SHARE_OF_COUNTS = 0.04, 0.1
# While nothing happens, a stream is trimmed at least so often within its MAX_AGE, but no more than every few seconds.
_OF_MAX_AGE = 6
_LEAST_SECONDS = 10.0


class StreamUpkeep:
    """The chores of one stream, of which this process serves these `groups`.

    Where it `is_due`, `due_chores` are to be done beside those of other streams.
    """

    def __init__(
        self, stream: StreamConfig, groups: Sequence[GroupLook], stop: threading.Event, timing: Timing
    ) -> None:
        self.stream = stream
        self._groups = groups
        self._counters = [each.counters for look in groups for each in look.consumers]
        self._stop = stop
        self._timing = timing
        self._now, self._activity = time.monotonic(), 0.0
        # When the first chore is due, unless something happens before.
        self._due_at = -inf
        self._count = Chore(self._now, often=timing.count_others, rarely=timing.watch_rarely)
        self._watch = Chore(self._now, often=timing.watch, rarely=timing.watch_rarely, first=timing.watch)
        self._trim = None
        if stream.maxlen is not None or stream.max_age is not None:
            self._trim = Chore(self._now, often=timing.trim, rarely=_trim_rarely(stream, timing))
        self._lanes = Chore(self._now, often=timing.look_at_unread_lanes, rarely=timing.retire_rarely)
        self._retire = Chore(self._now, often=timing.retire, rarely=timing.retire_rarely, first=timing.retire)

    def is_due(self, now: float) -> bool:
        """Return whether any chore is due. It is asked each second, of hundreds of streams in which nothing happens."""
        self._now = now
        activity = sum([each.activity for each in self._counters])
        if activity != self._activity or now >= self._due_at:
            self._activity = activity
            self._due_at = min(each.due_at(activity) for each in self._chores)
        return now >= self._due_at

    def due_chores(self, link: Link, server_ms: int, refusals: Refusals) -> Iterator[Asking[None]]:
        """Yield what is due while the server's clock shows `server_ms`; the rare rest is done by the link at once."""

        def do(chore: Chore, work: Asking[bool]) -> Asking[None]:
            changed = False
            with refusals.kept():
                changed = yield from work
            least = _LEAST_SHARE_OF_COUNTS if chore is self._count else _LEAST_SHARE
            share = max([least, *(each.share for each in self._groups)])
            chore.done(self._now, self._activity, changed=changed, share=share)

        if self._is_due(self._watch):
            yield do(self._watch, self._enter())
        if self._is_due(self._count):
            yield do(self._count, self._note_processes(server_ms))
        if self._trim is not None and self._is_due(self._trim):
            yield do(self._trim, self._trimmed(link, server_ms))
        if self._is_due(self._lanes):
            yield do(self._lanes, self._log_unread_lanes(link))
        if self._is_due(self._retire):
            yield do(self._retire, self._retired())

    @property
    def _chores(self) -> Sequence[Chore]:
        trim = () if self._trim is None else (self._trim,)
        return (self._watch, self._count, *trim, self._lanes, self._retire)

    def _is_due(self, chore: Chore) -> bool:
        return chore.is_due(self._now, self._activity)

    @property
    def _groups_left(self) -> Sequence[GroupLook]:
        """The groups that nobody has deleted."""
        return [each for each in self._groups if not each.deleted]

    def _note_processes(self, server_ms: int) -> Asking[bool]:
        """Note how many processes serve each group: the more there are, the less often this one looks.

        Those that died a moment ago count, too: a few make no difference.
        """
        names = [each.membership.group.name for each in self._groups]
        counts = yield from replies_to([consumers_command(self.stream.keys, each, server_ms) for each in names])
        for look, consumers in zip(self._groups, counts, strict=True):
            look.processes = consumers / len(look.consumers)
        return False

    def _enter(self) -> Asking[bool]:
        """Enter into the books what others did, and log it; return whether they did anything."""
        refusals, entered = Refusals(), False
        members = {each.membership.group.name: each.membership for each in self._groups_left}
        for group, found in (yield from watching(self.stream, [*members])).items():
            with refusals.kept():
                if isinstance(found, ResponseError):
                    raise found
                log_done_by_others(members[group], found)
                entered = entered or bool(found)
        refusals.raise_first()
        return entered

    def _trimmed(self, link: Link, server_ms: int) -> Asking[bool]:
        """Trim the stream if it is beyond its limits, and return whether anything was removed."""
        excess = yield from replies_to(excess_commands(self.stream))
        if not has_excess(self.stream, excess, server_ms):
            return False
        self._make_missing_groups(link)
        removed = False
        while trim(link, self.stream):
            removed = True
            if self._stop.is_set():
                break
        return removed

    def _make_missing_groups(self, link: Link) -> None:
        """Make each declared group that is missing, before a trim: it needs all that it was never given.

        A group that this process consumes is made by its consumer, which knows where it is to begin again, and reports
        it.
        """
        there = [delivered_to(link, self.stream.keys.lane(each)) for each in self.stream.lane_names]
        consumers = {each.membership.group.name: each.consumers[0] for each in self._groups}
        for group in self.stream.groups.values():
            if all(group.name in each for each in there):
                continue
            if group.name in consumers:
                consumers[group.name].connection.make_group(link)
            else:
                make_group(link, Membership(self.stream, group, ""), group.start, anew=False)

    def _log_unread_lanes(self, link: Link) -> Asking[bool]:
        undeclared = yield from undeclared_lanes_of(self.stream)
        for lane, group, count in left_in_lanes(link, self.stream) if undeclared else ():
            logger.warning(
                "%s:%s: up to %d messages wait in lane %r, which no consumer reads. Put it back into LANES until they "
                "are handled.",
                self.stream.name, group, count, lane, extra={"stream": self.stream.name, "group": group},
            )  # fmt: skip
        return False

    def _retired(self) -> Asking[bool]:
        """Remove the names of consumers that are long gone; return whether there were any."""
        refusals = Refusals()

        def retire(membership: Membership) -> Asking[bool]:
            names: Sequence[str] = ()
            with refusals.kept():
                names = yield from retiring(membership, round(self._timing.retire_after * 1_000))
            for name in names:
                logger.info(
                    "Removed consumer %r of %s, which held nothing and was silent for an hour.",
                    name, membership.label, extra={**about(membership), "consumer": name},
                )  # fmt: skip
            return bool(names)

        removed = yield from together([retire(each.membership) for each in self._groups_left])
        refusals.raise_first()
        return any(removed)


def _trim_rarely(stream: StreamConfig, timing: Timing) -> float:
    """Return how often a stream is trimmed in which nothing happens, in seconds: entries get too old nevertheless."""
    of_age = inf if stream.max_age is None else stream.max_age / _OF_MAX_AGE
    return min(timing.trim_rarely, max(_LEAST_SECONDS, of_age))
