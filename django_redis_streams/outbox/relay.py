"""The relay: sends what is in the table, and deletes it when it is on the server.

There is one for each database and each server. Rows are read in the order of their ids, in passes, so a backlog isn't
walked through from its front for each batch. A pass that takes long is interrupted every other few seconds by a look at
the front: what waits there for its next try doesn't wait for the end of a backlog. Then it goes on where it stopped, so
rows behind any number of refused ones have their turn.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from django.db import connections, transaction
from django.db.models import Count
from django.db.models.functions import Length, Now

from .. import conf
from ..conf import StreamConfig
from ..connections import Link
from ..querying import Exactly, check_commits, exactly
from ..store.publish.relay_lease import Held, RelayLease
from .batch import Batch
from .kept import delete_kept
from .repair import Repair
from .replicated import settle_replicated
from .rows import DueRow
from .standing import all_rows, unsent

__all__ = ["Relay", "Step", "tell_undeclared"]

logger = logging.getLogger("django_redis_streams")

# Rows of a batch at most; the first batch is smaller, as nobody knows yet how large its rows are. And rows that are
# looked at for a batch: more where few of them are due.
_AT_ONCE: Final = 1_000
_FIRST: Final = 100
_WIDEST: Final = 50_000
# About so many characters of entries of a batch: memory holds them several times.
_CHARACTERS: Final = 8 * 1024 * 1024
# In seconds: how long a pass goes on, and a look at the front that interrupts it; how often the lease is renewed, and
# how often kept rows are looked at.
_PASS: Final = 5.0
_RENEW: Final = 1.0
_LOOK_AT_KEPT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: how many messages it sent, and how many the server or the settings refused.

    `held` is whether this process has the lease, `more` whether more may be waiting.
    """

    held: bool
    sent: int = 0
    refused: int = 0
    more: bool = False


class Relay:
    """Relays the outbox of the database `using` to the server of the connection `alias`; for one thread.

    It keeps the lease until `let_go`, or until it makes no step for `LEASE_MS`.
    """

    def __init__(self, using: str, alias: str) -> None:
        self.using, self.alias = using, alias
        # Beside a stream, as on a node of a cluster another key may be elsewhere.
        keys, database = min(conf.get().streams_of(alias).items())[1].keys, _database(using)
        self._lease = RelayLease(keys, database, secrets.token_hex(8))
        self._repair = Repair(using, keys.relayed(database))
        # Until when the lease needs no renewal, when the pass began, and when kept rows are looked at again: all on the
        # monotonic clock.
        self._held_until = self._began = self._kept_due = 0.0
        # The id after which the next batch begins; and where an interrupted pass goes on, 0 where none is.
        self._after = self._goes_on = 0
        self._limit = self._window = _FIRST
        # What was sent, while the database doesn't take that.
        self._unsettled: Batch | None = None
        # How many messages it has sent, also in steps that ended by an error. For any thread.
        self.sent = 0

    def hold(self, link: Link) -> bool:
        """Take or renew the lease; return whether this process has it."""
        now = time.monotonic()
        if now < self._held_until:
            return True
        held = self._lease.hold(link)
        self._held_until = now + _RENEW if held else 0.0
        # Another may have relayed meanwhile, or the server has lost the lease, and what else.
        if held is Held.ANEW:
            self._repair.begin()
        return bool(held)

    @property
    def unsettled(self) -> bool:
        """Whether it has sent what the database doesn't take as sent: any other would send that once more."""
        return self._unsettled is not None

    def connected(self) -> None:
        """Compare what is kept with the server in the next step: it may be another since, or have lost something.

        So it may have lost what the database didn't take as sent: that is rather sent twice.
        """
        self._repair.begin()
        self._unsettled = None

    def step(self, link: Link) -> Step:
        """Send the next batch, if this process has or gets the lease.

        Raises `ServerUnreachable`: what it isn't known to have stays in the table. Raises `NotSupportedError` where no
        DELETE would be committed: each try would send the same messages.
        """
        if not self.hold(link):
            return Step(held=False)
        check_commits(self.using)
        self._settle_again()
        streams = conf.get().streams_of(self.alias)
        if self._repair.step(link, streams.values()):
            return Step(held=True, more=True)
        now = time.monotonic()
        if now >= self._kept_due:
            more = delete_kept(self.using, streams)
            more = settle_replicated(self.using, streams, link, self._replicas) or more
            self._kept_due = now if more else now + _LOOK_AT_KEPT
        if now - self._began > _PASS:
            self._turn(now)
        last, more_follow = self._range()
        with self._transaction():
            rows, end = ([], None) if last is None else self._due(streams, last)
            self._unsettled = batch = Batch(self.using, streams, rows)
            lost = batch.send(link)
            batch.settle()
        self._go_on(rows, end, last if more_follow else None)
        self._settled(batch)
        if lost is not None:
            raise lost
        return Step(held=True, sent=len(batch.sent), refused=len(batch.refused), more=self._after > 0)

    def _settle_again(self) -> None:
        """Settle what was sent when the database took no DELETE: else each try would send it once more."""
        if (batch := self._unsettled) is None:
            return
        with self._transaction():
            batch.look_again()
            batch.settle()
        self._settled(batch)

    def _settled(self, batch: Batch) -> None:
        self._unsettled = None
        self.sent += len(batch.sent)
        batch.tell()

    def _replicas(self, link: Link, stream: StreamConfig, least: int, seconds: float) -> int:
        """Do as the lease's `replicas`; for a node of a cluster by another lease, beside a stream that it has."""
        lease = self._lease
        if conf.connection(self.alias).by_cluster:
            lease = replace(lease, keys=stream.keys)
        return lease.replicas(link, least, seconds)

    def _turn(self, now: float) -> None:
        """Interrupt the pass for a look at the front, or end that look and go on with the pass."""
        if self._goes_on:
            self._after, self._goes_on = max(self._after, self._goes_on), 0
        else:
            self._after, self._goes_on = 0, self._after
        self._began = now

    def let_go(self, link: Link) -> None:
        """Let go of the lease, if this process has it."""
        self._held_until = 0.0
        self._lease.let_go(link)

    def _transaction(self) -> AbstractContextManager[object]:
        """Return what a batch runs in: a transaction where it locks rows, so that no other relay sends them.

        Elsewhere the lease alone sees to that, and a transaction would only keep others from writing meanwhile. SQLite
        would even refuse its end: after the messages were sent.
        """
        return transaction.atomic(using=self.using) if self._locks else nullcontext()

    @property
    def _locks(self) -> bool:
        return connections[self.using].features.has_select_for_update_skip_locked

    def _due(self, streams: dict[str, StreamConfig], last: int) -> tuple[Sequence[DueRow], int | None]:
        """Return the rows of the next batch, and the id up to which it looked if that isn't `last`.

        How long entries are is asked first: a thousand large ones would take gigabytes of memory.
        """
        due = unsent(self.using).filter(exactly("stream", streams), next_try_at__lte=Now())
        due = due.filter(pk__gt=self._after, pk__lte=last).order_by("pk")
        most = self._most
        ids: list[int] = []
        room = _CHARACTERS
        for pk, length in due.values_list("pk", Length("entry"))[:most]:
            room -= length
            if ids and room < 0:
                break
            ids.append(pk)
        if not ids:
            return [], None
        if self._locks:
            due = due.select_for_update(skip_locked=True)
        found = due.filter(pk__lte=ids[-1]).values_list(*DueRow._fields)[: len(ids)]
        return [DueRow(*row) for row in found], ids[-1] if room < 0 or len(ids) >= most else None

    def _range(self) -> tuple[int | None, bool]:
        """Return the id of the last row to look at for the next batch, None where there is none; and if more follow.

        Without that bound, a database that doesn't know yet how many rows there are reads and sorts all of them.
        """
        ids = all_rows(self.using).filter(pk__gt=self._after).values_list("pk", flat=True)
        window = self._window
        last = ids.order_by("pk")[window - 1 : window].first()
        return (ids.order_by("-pk").first(), False) if last is None else (last, True)

    @property
    def _most(self) -> int:
        """How many rows to read: their ids and keys are parameters of one query."""
        parameters = connections[self.using].features.max_query_params
        return min(self._limit, (parameters or 2 * _AT_ONCE + 100) // 2 - 10)

    def _go_on(self, rows: Sequence[DueRow], end: int | None, last: int | None) -> None:
        """Decide where the next batch begins, how many rows it has, and how many are looked at for it.

        This one was full with the row of the id `end`; or it looked at all rows up to the id `last`, None: to the end.
        """
        full = end is not None
        self._after = end or last or 0
        if not self._after:
            self._began, self._goes_on = 0.0, 0
        if rows:
            each = max(1, sum(len(row.entry) for row in rows) // len(rows))
            self._limit = max(10, min(_AT_ONCE, 4 * len(rows) + 10, _CHARACTERS // each))
        self._window = self._limit if full else min(_WIDEST, max(_AT_ONCE, 4 * self._window))


def tell_undeclared(using: str) -> None:
    """Log how many rows of a database wait for a stream that the settings don't declare: they aren't sent."""
    others = unsent(using).exclude(exactly("stream", conf.get().streams)).annotate(exact=Exactly("stream"))
    for name, count in others.values("stream", "exact").annotate(count=Count("pk")).values_list("stream", "count"):
        logger.warning(
            "%d messages wait in the outbox of database %r for the stream %r, which isn't declared here. A newer "
            "release may declare it. Else declare it, or discard them by `manage.py streams outbox discard`.",
            count, using, name, extra={"stream": name},
        )  # fmt: skip


def _database(using: str) -> str:
    """Return what tells a database from others in the names of keys: projects may share a server."""
    settings = connections[using].settings_dict
    known = [str(settings[name]) for name in ("ENGINE", "HOST", "PORT", "NAME")]
    return blake2b(json.dumps(known).encode(), digest_size=6).hexdigest()
