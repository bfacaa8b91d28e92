"""A batch of the relay: sends its rows in the order of their keys, and settles each as the server answered."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from django.db.models import F, Min
from django.db.models.functions import Now

from .. import signals, wire
from ..conf import StreamConfig
from ..connections import Link
from ..connections.refusals import PartUnreachable
from ..exceptions import InvalidMessage, NotReplicated, ServerUnreachable, StreamsError
from ..querying import delete
from ..store.publish.append import append
from ..store.publish.delay import Due, delay_each
from ..wire import Fields
from .models import OutboxMessage
from .rows import DueRow, entry_of, named_by
from .standing import HELD, ON_TOO_FEW, all_rows, unsent

__all__ = ["Batch"]

# In seconds: the wait after the first refusal, doubled with each, and the longest.
_SHORTEST: Final = 1
_LONGEST: Final = 60
# An error's text is cut to this.
_ERROR: Final = 1_000

# What goes in one pipeline: a stream's lane, at once or later.
_Where = tuple[str, str, bool]


class Batch:
    """Some rows that are due, in the order of their ids: first `send`, then `settle`, then `tell`.

    After `send`, `sent` has the rows that are on the server, `refused` those that it or the settings refused. A row
    behind a refused or waiting one of its key is put off. All others stay as they are: they are due again at once.
    """

    def __init__(self, using: str, streams: Mapping[str, StreamConfig], rows: Sequence[DueRow]) -> None:
        self.sent: list[tuple[DueRow, Fields, str]] = []
        self.refused: list[tuple[DueRow, str]] = []
        self._put_off: list[tuple[DueRow, int]] = []
        # The rows of what was sent, and too few replicas have.
        self._on_too_few: set[int] = set()
        # The keys that aren't those of the rows any more.
        self._others: set[int] = set()
        self._using, self._streams, self._rows = using, streams, rows
        # For each key that has a row which can't leave now: the id of that, and for how many seconds.
        self._blocked: dict[int, tuple[int, int]] = {}

    def send(self, link: Link) -> ServerUnreachable | None:
        """Send the rows; return the error if the server was lost: some of them may be there, or may not."""
        self._find_blocked()
        ages, part = self._ages(), None
        for wave in self._waves():
            for where, rows in self._groups(wave).items():
                lost = self._send_group(link, where, rows, ages)
                if isinstance(lost, PartUnreachable):  # of a cluster: what is for other nodes isn't held up
                    part = lost
                elif lost is not None:
                    return lost
        return part

    def look_again(self) -> None:
        """Leave alone what is another row by now: a database that was restored may give a key once more."""
        named = unsent(self._using).filter(named_by(row.pk for row in self._rows))
        there = dict(named.values_list("pk", "message_id"))
        self._others = {row.pk for row in self._rows if there.get(row.pk) != row.message_id}

    def settle(self) -> None:
        """Delete what is on the server, or mark it where it is kept; put off what isn't."""
        sent = [(row, entry_id) for row, _, entry_id in self.sent if row.pk not in self._others]
        kept = [(row, entry_id) for row, entry_id in sent if self._is_kept(row)]
        gone = [row.pk for row, _ in sent if not self._is_kept(row)]
        every = all_rows(self._using)
        if gone:
            delete(every.filter(named_by(gone)))
        if kept:
            errors = dict.fromkeys(self._on_too_few, ON_TOO_FEW)
            marked = [
                OutboxMessage(pk=row.pk, sent_at=Now(), entry_id=entry_id, error=errors.get(row.pk, ""))
                for row, entry_id in kept
            ]
            every.bulk_update(marked, ["sent_at", "entry_id", "error"], batch_size=100)
        alike: dict[tuple[int, str], list[int]] = defaultdict(list)
        for row, error in self.refused:
            if row.pk not in self._others:
                alike[_backoff(row.attempts), error].append(row.pk)
        for (seconds, error), ids in alike.items():
            later = Now() + timedelta(seconds=seconds)
            every.filter(named_by(ids)).update(attempts=F("attempts") + 1, error=error, next_try_at=later)
        waits: dict[int, list[int]] = defaultdict(list)
        for row, seconds in self._put_off:
            if row.pk not in self._others:
                waits[seconds].append(row.pk)
        for seconds, ids in waits.items():
            every.filter(named_by(ids)).update(error=HELD, next_try_at=Now() + timedelta(seconds=seconds))

    def _is_kept(self, row: DueRow) -> bool:
        return self._streams[row.stream].outbox_keep is not None or row.pk in self._on_too_few

    def tell(self) -> None:
        """Send the signal `message_published` for each message that was sent, if somebody hears it."""
        if not signals.has_receivers(signals.message_published):
            return
        for row, fields, entry_id in self.sent:
            origin = wire.Origin(stream=row.stream, group="", key=row.stream, lane=row.lane)
            try:
                message = wire.decode(origin, entry_id or "0-0", fields)
            except wire.Undecodable:  # somebody has written the row by hand
                message = wire.decode_as_foreign(origin, entry_id or "0-0", fields)
            signals.send(signals.message_published, message)

    def _find_blocked(self) -> None:
        """Find the keys of which an earlier row isn't in this batch: another has it, or it waits for its next try."""
        keyed = [row for row in self._rows if row.key_hash is not None]
        if not keyed:
            return
        keys = {row.key_hash for row in keyed}
        others = unsent(self._using).filter(key_hash__in=keys, pk__lt=keyed[-1].pk)
        others = others.exclude(pk__in=[row.pk for row in keyed])
        first = dict(others.values_list("key_hash").annotate(first=Min("pk")))
        waiting = unsent(self._using).filter(pk__in=first.values()).values_list("pk", "attempts", "next_try_at", Now())
        left = {pk: math.ceil((due - now).total_seconds()) for pk, attempts, due, now in waiting if attempts}
        # One that was never refused is mostly just being sent.
        self._blocked = {key: (pk, max(_SHORTEST, left.get(pk, 0))) for key, pk in first.items() if key is not None}

    def _ages(self) -> Mapping[int, int]:
        """Return for each row with a delay the ms since it was made, by the database's clock."""
        delayed = [row.pk for row in self._rows if row.delay_ms is not None]
        if not delayed:
            return {}
        made = unsent(self._using).filter(named_by(delayed)).values_list("pk", "created_at", Now())
        return {pk: (now - created) // timedelta(milliseconds=1) for pk, created, now in made}

    def _waves(self) -> Iterator[Sequence[DueRow]]:
        """Yield the rows in waves, each with at most one row of a key.

        In one pipeline the server may refuse a row, and take the next.
        """
        seen: Counter[int] = Counter()
        waves: dict[int, list[DueRow]] = defaultdict(list)
        for row in self._rows:
            waves[0 if row.key_hash is None else seen[row.key_hash]].append(row)
            if row.key_hash is not None:
                seen[row.key_hash] += 1
        for number in sorted(waves):
            yield waves[number]

    def _groups(self, wave: Sequence[DueRow]) -> Mapping[_Where, Sequence[tuple[DueRow, Fields]]]:
        """Return the rows of a wave that may leave, with their fields, by where they go."""
        groups: dict[_Where, list[tuple[DueRow, Fields]]] = defaultdict(list)
        for row in wave:
            blocked = None if row.key_hash is None else self._blocked.get(row.key_hash)
            if blocked is not None and blocked[0] < row.pk:
                self._put_off.append((row, blocked[1]))
                continue
            try:
                fields = self._entry(row)
            except InvalidMessage as error:
                self._refuse(row, str(error))
            else:
                groups[row.stream, row.lane, row.delay_ms is not None or row.due_ms is not None].append((row, fields))
        return groups

    def _entry(self, row: DueRow) -> Fields:
        lanes = self._streams[row.stream].lane_names
        if row.lane not in lanes:
            raise InvalidMessage(
                f"Lane {row.lane!r} isn't one of the LANES of stream {row.stream!r}: {', '.join(map(repr, lanes))}. "
                "Declare it again, or discard the message."
            )
        return entry_of(row)

    def _send_group(
        self, link: Link, where: _Where, rows: Sequence[tuple[DueRow, Fields]], ages: Mapping[int, int]
    ) -> ServerUnreachable | None:
        name, lane, is_delayed = where
        stream = self._streams[name]
        replies: Sequence[str | StreamsError]
        if is_delayed:
            replies = delay_each(link, stream, lane, [(_due(row, ages), fields) for row, fields in rows])
        else:
            replies = append(link, stream, lane, [fields for _, fields in rows])
        lost: ServerUnreachable | None = None
        for (row, fields), reply in zip(rows, replies, strict=True):
            if isinstance(reply, ServerUnreachable):  # in a cluster, what stands behind it may have been taken
                lost = lost or reply
            elif isinstance(reply, NotReplicated):
                self._on_too_few.add(row.pk)
                self.sent.append((row, fields, reply.entry_id))
            elif isinstance(reply, str):
                self.sent.append((row, fields, reply))
            else:
                self._refuse(row, str(reply))
        if lost is not None:
            self._leave(rows)
        return lost

    def _leave(self, rows: Sequence[tuple[DueRow, Fields]]) -> None:
        """Have what comes behind these rows, of the same keys, wait for as long as they wait at least."""
        answered = {row.pk for row, _, _ in self.sent} | {row.pk for row, _ in self.refused}
        for row, _ in rows:
            if row.key_hash is not None and row.pk not in answered:
                self._blocked[row.key_hash] = row.pk, _SHORTEST

    def _refuse(self, row: DueRow, error: str) -> None:
        self.refused.append((row, error.replace("\0", "\ufffd")[:_ERROR]))
        if row.key_hash is not None:
            self._blocked[row.key_hash] = row.pk, _backoff(row.attempts)


def _backoff(attempts: int) -> int:
    """Return how many seconds a row waits that is refused after so many refusals before."""
    return min(_LONGEST, _SHORTEST << min(attempts, 10))


def _due(row: DueRow, ages: Mapping[int, int]) -> Due:
    """Return when a message is due; a delay counts from when its row was made."""
    if row.delay_ms is None:
        return Due(row.due_ms or 0, absolute=True)
    return Due(max(0, row.delay_ms - ages[row.pk]), absolute=False)
