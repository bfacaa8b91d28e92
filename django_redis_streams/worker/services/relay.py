"""Relays the outbox: what is committed in a database and isn't on this server yet is sent.

In each process, where the app `django_redis_streams.outbox` is installed. One of all processes has the lease of a
database and server. The others ask for it now and then, and don't connect to the database.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from django.db import Error

from ...connections import Link
from ...connections.refusals import PartUnreachable
from ...outbox.databases import aliases
from ...outbox.presence import LABEL, TABLE, declared
from ...outbox.relay import Relay, tell_undeclared
from ...querying import has_table, how_to_make
from ..execution.databases import Databases
from ..log.lines import logger
from ..timing import Timing
from .service import Service

__all__ = ["OutboxRelay"]

# In seconds: how often a database's error is logged again while it lasts, and how often rows of undeclared streams.
_AGAIN: Final = 60.0
# In seconds: for how long the lease is kept while the database doesn't take what was sent as sent. Each process that
# has it next sends that once more, but may reach the database where this one can't.
_KEEPS: Final = 60.0


class OutboxRelay(Service):
    """Relays from all databases that have the table to the server of one connection.

    `tells` is whether it tells of rows whose stream nobody has declared: they belong to no connection.
    """

    def __init__(self, alias: str, stop: threading.Event, timing: Timing, *, tells: bool = False) -> None:
        super().__init__(alias, stop, timing)
        self._tells = tells
        self._relays = [_OfDatabase(Relay(using, alias), timing) for using in aliases()]
        self._databases: Databases | None = None
        self._busy = self._leads = self._leaves = False
        # Whether the last step has left nothing to send, as far as it is this process's to send. For any thread.
        self.rests = False

    @property
    def sent(self) -> int:
        """How many messages it has sent. For any thread."""
        return sum(each.relay.sent for each in self._relays)

    @property
    def interval(self) -> float:
        """In seconds: none while there is more to send."""
        if self._busy:
            return 0.0
        return self._timing.relay if self._leads else self._timing.look_for_relay

    def connected(self) -> None:
        """Have what is kept compared with the server: it may be another."""
        for each in self._relays:
            each.relay.connected()

    def step(self, link: Link) -> None:
        """Send the next batch of each database whose lease this process has; or let go of the leases.

        A node of a cluster that is away is raised after all databases had their turn: others' messages don't wait.
        """
        if self._leaves:
            for each in self._relays:
                each.relay.let_go(link)
            return
        self._busy = self._leads = False
        lost: PartUnreachable | None = None
        for each in self._relays:
            try:
                self._look(each, link)
            except PartUnreachable as error:
                lost = lost or error
        if self._databases is not None and not self._busy:
            self._databases.after_batch()
        if lost is not None:
            raise lost
        self.rests = not self._busy

    def _look(self, each: _OfDatabase, link: Link) -> None:
        # What fails here may go well in another process, so the lease isn't kept meanwhile; but for a while where that
        # would send the same messages once more.
        if time.monotonic() < each.due:
            self._leads = self._leads or each.fails
        elif each.relay.hold(link):
            self._leads = True
            if not self._relayed(each, link) and not each.keeps_lease:
                each.relay.let_go(link)

    def log_refused(self, error: str, wait: float) -> None:
        """As all services; and let a drain end: what the server refuses may be refused for ever."""
        self.rests = True
        super().log_refused(error, wait)

    def end(self) -> None:
        """Close the connections to databases, and let go of the leases, so that another process goes on at once."""
        if self._databases is not None:
            self._databases.close()
        self._leaves = True
        if self._leads:
            self.guarded_step()

    def _relayed(self, each: _OfDatabase, link: Link) -> bool:
        """Send the next batch of a database, and return whether to keep the lease. Log an error of the database."""
        if self._databases is None:
            self._databases = Databases(self._timing.trust_connection)
        try:
            self._databases.before_message()
            each.has_table = each.has_table or has_table(each.relay.using, TABLE)
            if each.has_table:
                step = each.relay.step(link)
                self._busy = step.more or self._busy
                self._tell_undeclared(each)
            else:
                each.due = time.monotonic() + self._timing.look_for_table
                self._tell_lacking(each)
        except Error as error:
            each.failed(error)
            return False
        finally:
            self._databases.after_message()
        if each.has_table:
            each.succeeded()
        return each.has_table

    def _tell_lacking(self, each: _OfDatabase) -> None:
        """Log that a database has no table, where a stream needs it: once, unless it comes and goes again."""
        streams = declared()
        if self._tells and streams and not each.lacks_table:
            each.lacks_table = True
            logger.warning(
                "Database %r has no table of the outbox: what is published to %s in its transactions is refused. %s",
                each.relay.using, ", ".join(streams), how_to_make(LABEL, each.relay.using),
            )  # fmt: skip

    def _tell_undeclared(self, each: _OfDatabase) -> None:
        if self._tells and time.monotonic() >= each.tells_at:
            each.tells_at = time.monotonic() + _AGAIN
            tell_undeclared(each.relay.using)


class _OfDatabase:
    """The relay of one database, when it is due on the monotonic clock, and what went wrong."""

    def __init__(self, relay: Relay, timing: Timing) -> None:
        self.relay = relay
        # Whether the log has told that the table is missing.
        self.has_table = self.lacks_table = False
        self.due = self.tells_at = 0.0
        self._backoff = timing.backoff(least=0.1, most=5.0)
        self._logged = ""
        self._logged_at = self._fails_since = 0.0

    @property
    def keeps_lease(self) -> bool:
        """Whether to keep the lease although the database has failed."""
        return self.relay.unsettled and time.monotonic() - self._fails_since < _KEEPS

    @property
    def fails(self) -> bool:
        """Whether the last step ended by an error of the database."""
        return bool(self._logged)

    def failed(self, error: Error) -> None:
        """Note an error of the database, log it once and then each minute, and put off the next try."""
        now = time.monotonic()
        self.due = now + self._backoff.more()
        # Somebody may have migrated it back.
        self.has_table = False
        if not self._logged:
            self._fails_since = now
        if not self._logged or now - self._logged_at > _AGAIN:
            self._logged_at = now
            self._logged = str(error).strip() or type(error).__name__
            logger.error(
                "The outbox of database %r can't be relayed to connection %r: %r. Its messages wait, and it is tried "
                "again until it succeeds.",
                self.relay.using, self.relay.alias, self._logged, extra={"connection": self.relay.alias},
            )  # fmt: skip

    def succeeded(self) -> None:
        """Note that the database has answered, and has the table."""
        self.lacks_table = False
        self._backoff.reset()
        if self._logged:
            self._logged = ""
            logger.warning(
                "The outbox of database %r is relayed again to connection %r.", self.relay.using, self.relay.alias,
                extra={"connection": self.relay.alias},
            )  # fmt: skip
