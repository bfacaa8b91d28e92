"""The rows of the outbox as records and pages, as `inspection` has them for what is on the server.

The databases come one after the other, each with its oldest row first. A text is searched for in no more than 10,000
rows a page, and a page ends where its rows hold 16 MiB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from django.db.models import QuerySet
from django.db.models.functions import Length, Now

from ..exceptions import InvalidMessage
from ..inspection import Cursor, MessageRecord, Page, Problem, wanted
from ..inspection.records import moment
from ..querying import exactly, takes
from ..store.observe.sources import Position
from .databases import OutboxUnavailable, aliases, asking, every_database
from .models import OutboxMessage
from .rows import entry_of
from .standing import ROWS, SENT, UNSENT, Standing, all_rows

__all__ = ["UnsentMessage", "find_unsent", "list_unsent"]

_MOST_SEARCHED: Final = 10_000
_MOST_HELD: Final = 16 * 1024 * 1024
# Rows that are read at once, and about so many characters of their entries: memory holds these several times.
_AT_ONCE: Final = 100
_CHARACTERS: Final = 4 * 1024 * 1024
# What the largest key of a row may be, in any database.
_LAST: Final = 2**63 - 1
_QUARTER: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsentMessage(MessageRecord):
    """A row of the outbox in `database`, `read_at` that time of the database's clock.

    `sort_key` is the message's own key. Tried `attempts` times, it will be tried at `next_try`. One with `sent` is on
    the server, as `published_id` unless it is delayed. What nobody can decode has its row's text in `undecoded`, and
    why that is in `fault`.
    """

    database: str
    pk: int
    sort_key: str
    created: datetime
    next_try: datetime
    sent: datetime | None
    delay_ms: int | None
    due_ms: int | None
    undecoded: str = ""
    fault: str = ""
    read_at: datetime = field(compare=False)

    @property
    def held(self) -> int:
        """About how many bytes the record itself takes."""
        # By name: a dataclass with slots is another class than the one whose body this is.
        return super(UnsentMessage, self).held + len(self.undecoded)

    @property
    def payload(self) -> str:
        """The payload that a handler gets, as indented JSON; of what nobody can decode, what the row holds."""
        return self.undecoded if self.fault else super(UnsentMessage, self).payload

    @property
    def age(self) -> timedelta:
        """How long ago it was published."""
        return self.read_at - self.created

    @property
    def due(self) -> datetime | None:
        """When a delayed message is due; None of another."""
        if self.delay_ms is not None:
            return moment(self.created.timestamp() * 1000 + self.delay_ms)
        return None if self.due_ms is None else moment(self.due_ms)

    @property
    def standing(self) -> Standing:
        """How it stands."""
        if self.sent:
            return Standing.SENT
        if self.attempts:
            return Standing.REFUSED
        return Standing.WAITING if self.error or self.next_try <= self.read_at else Standing.SENDING


def list_unsent(
    *,
    database: str | None = None,
    stream: str | None = None,
    standing: str | None = None,
    text: str = "",
    after: Cursor | None = None,
    count: int = 50,
    bodies: bool = True,
) -> Page[UnsentMessage]:
    """Return the rows that aren't sent, or those that stand as `standing` says; of one database and stream, or of all.

    `total` counts the rows that aren't sent, or with `standing` "sent" those that are, whatever else is asked for.
    """
    wants = wanted(text, type=None)
    chosen = UNSENT if standing is None else ROWS[Standing(standing)]
    counted = SENT if standing == Standing.SENT else UNSENT
    if stream is not None:
        chosen &= exactly("stream", [stream])
    found = _Found(count, wants, bodies=bodies)
    total = 0
    for alias, start in _starts(database, after):
        try:
            with asking(alias):
                total += all_rows(alias).filter(counted).count()
                if start is not None and (stream is None or takes(stream)):
                    found.read(alias, all_rows(alias).filter(chosen), start)
        except OutboxUnavailable as error:
            found.problems.append(Problem("", error))
    return Page(
        found.rows,
        total=total,
        searched=found.searched,
        by_reading=wants is not None,
        next=found.last if found.more else None,
        problems=found.problems,
    )


def find_unsent(database: str, keys: Sequence[int], *, bodies: bool = True) -> list[UnsentMessage]:
    """Return the rows of a database with these keys; with their `bodies`, or without. Raises `OutboxUnavailable`."""
    with asking(database):
        records = (_record(database, row) for row in _in_turns(all_rows(database).filter(pk__in=keys), 0))
        return [each if bodies else each.without_body() for each in records]


def _starts(database: str | None, after: Cursor | None) -> Iterator[tuple[str, int | None]]:
    """Yield each database that is listed, and the key behind which its rows are read on; None where all were read."""
    # One that is named is listed also where a router keeps the table out of it: nobody else tells of its rows.
    every = aliases() if database is None else [each for each in every_database() if each == database]
    first = every.index(after.source) if after is not None and after.source in every else -1
    for index, alias in enumerate(every):
        at = after.position.second if after is not None and index == first else 0
        yield alias, None if index < first else at


class _Found:
    """Collects rows, database by database, until there are enough of them."""

    def __init__(self, count: int, wants: Callable[[MessageRecord], bool] | None, *, bodies: bool) -> None:
        self.rows: list[UnsentMessage] = []
        self.problems: list[Problem] = []
        self.searched = self._held = 0
        self.last: Cursor | None = None
        self.more = False
        self._count, self._wants, self._bodies = count, wants, bodies

    def read(self, alias: str, rows: QuerySet[OutboxMessage], start: int) -> None:
        """Read on in one database, from behind the key `start`."""
        for row in _in_turns(rows, start):
            if len(self.rows) == self._count or self.searched == _MOST_SEARCHED or self._held >= _MOST_HELD:
                self.more = True
                return
            record = _record(alias, row)
            self.searched += 1
            self.last = Cursor(Position(0, row.pk, ""), "", alias)
            if self._wants is None or self._wants(record):
                self.rows.append(record if self._bodies else record.without_body())
                self._held += self.rows[-1].held


def _in_turns(rows: QuerySet[OutboxMessage], start: int) -> Iterator[OutboxMessage]:
    """Yield the rows behind a key, read by the hundred, or fewer where they are large."""
    while start < _LAST:
        lengths = list(rows.filter(pk__gt=start).order_by("pk").values_list("pk", Length("entry"))[:_AT_ONCE])
        if not lengths:
            return
        last, room = lengths[0][0], _CHARACTERS
        for pk, length in lengths:
            room -= length
            if room < 0:
                break
            last = pk
        found = list(rows.filter(pk__gt=start, pk__lte=last).annotate(read_at=Now()).order_by("-pk"))
        while found:  # what was yielded is its reader's alone
            yield found.pop()
        if last == lengths[-1][0] and len(lengths) < _AT_ONCE:
            return
        start = last


def _record(database: str, row: OutboxMessage) -> UnsentMessage:
    decoded: dict[str, Any]
    try:
        fields = entry_of(row)
    except InvalidMessage as error:
        decoded = {"fields": [], "sort_key": "", "undecoded": row.entry, "fault": str(error)}
    else:
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        # FORMAT "flat" may have a field of that name, and has no keys.
        key = "" if row.key_hash is None else values.get("key", "")
        decoded = {"fields": fields, "type": values.get("type", ""), "sort_key": key}
    known: Any = row  # with the annotation
    told = partial(_in_utc, behind=_behind(known.read_at))
    return UnsentMessage(
        **decoded,
        stream=row.stream,
        group="",
        lane=row.lane,
        message_id=row.message_id,
        published_id=row.entry_id,
        attempts=row.attempts,
        error=row.error,
        size=len(row.entry),
        database=database,
        pk=row.pk,
        created=told(row.created_at),
        next_try=told(row.next_try_at),
        sent=row.sent_at and told(row.sent_at),
        delay_ms=row.delay_ms,
        due_ms=row.due_ms,
        read_at=told(known.read_at),
    )


def _behind(now: datetime) -> timedelta:
    """Return how far a database's clock, read just now, is behind UTC: it may go by any time zone, and not say so.

    Without USE_TZ it tells no zone, and its sessions have one of their own on MySQL, always. Zones differ by quarters
    of an hour.
    """
    return round((datetime.now(UTC) - _as_utc(now)) / _QUARTER) * _QUARTER


def _in_utc(moment: datetime, behind: timedelta) -> datetime:
    return _as_utc(moment) + behind


def _as_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
