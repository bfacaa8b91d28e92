"""Databases that are unavailable: whether an error says so, and the log of it.

A database that is locked, deadlocked or lost is no fault of a handler's, nor of a message's. Django's class doesn't
tell: SQLite's "no such table" is an `OperationalError` too. The driver's code does; no driver is imported. Nor is the
missing table of the inbox anybody's fault but the deploy's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any, Final

from django.db import Error, InterfaceError, OperationalError
from django.db.transaction import TransactionManagementError

from ...exceptions import NotCommitted
from ...inbox.presence import InboxTableMissing
from ...outcomes import Outcome, RetryLater
from ...retry import LONGEST_OUTAGE, RetryPolicy
from ...store.consume.delivery import Delivery
from ...store.consume.membership import Membership
from ..log.lines import about, logger
from ..log.recurring import Recurring

__all__ = ["OutageLog", "outage_of_all", "seconds_of_outage", "unavailable_database"]

# Primary result codes (https://www.sqlite.org/rescode.html): BUSY, LOCKED, IOERR, FULL, CANTOPEN, PROTOCOL. READONLY,
# CORRUPT and NOTADB aren't here: time doesn't mend them.
_SQLITE: Final = {5, 6, 10, 13, 14, 15}
# https://www.postgresql.org/docs/current/errcodes-appendix.html: connections, resources; serialization, deadlock, lock
# not available, and a server that shuts down, has crashed, starts up, or closes an idle session.
_POSTGRESQL: Final = re.compile("08...|53...|40001|40P01|55P03|57P01|57P02|57P03|57P05")
# https://dev.mysql.com/doc/mysql-errors/en/: too many connections; disk and memory; shutdown and killed connections;
# network; lock wait time-out, deadlock, NOWAIT; MariaDB's killed connection; idle too long; and the client's own of
# 2002 to 2055, which can't connect or were disconnected.
_MYSQL: Final = {
    *(1040, 1203, 1021, 1037, 1041, 1053, 1152, 1158, 1159, 1160, 1161, 1205, 1213, 3572, 1927, 4031),
    *(2002, 2003, 2005, 2006, 2012, 2013, 2055),
}
# https://docs.oracle.com/en/error-help/db/: deadlock, NOWAIT, serialization; starting and stopping; disconnected; the
# listener; and the driver's own.
_ORACLE: Final = re.compile(
    "ORA-000(54|60)|ORA-08177|ORA-010(33|34|89|90|92)|ORA-0311[34]|ORA-03135|ORA-125(14|28|37|41|47)|ORA-12170"
    "|DPY-(1001|4011|4024|6000|6005)"
)


def unavailable_database(error: BaseException) -> bool:
    """Whether a database was locked, deadlocked, lost, or without the inbox's table: the same run may succeed later.

    `error` is Django's, by whatever driver, or a group of nothing else, as an `asyncio.TaskGroup` raises it. What a
    handler has raised from it is the handler's own word and no such error.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(unavailable_database, error.exceptions))
    if isinstance(error, TransactionManagementError | NotCommitted) and error.__cause__ is not None:
        return unavailable_database(error.__cause__)  # it only says that something went wrong before
    if isinstance(error, InboxTableMissing):
        return True  # until somebody migrates
    return isinstance(error, Error) and _driver_says_unavailable(error, error.__cause__ or error)


def _driver_says_unavailable(error: Error, cause: Any) -> bool:
    if (code := getattr(cause, "sqlite_errorcode", None)) is not None:
        return code & 0xFF in _SQLITE
    first = cause.args[0] if cause.args else None
    if isinstance(first, int):
        # Before the states, which PyMySQL has too: MySQL's are too coarse, HY000 for a lock and for much else.
        # mysqlclient has an InterfaceError of 0 for a connection that is closed.
        return first == 0 if isinstance(error, InterfaceError) else first in _MYSQL
    if hasattr(cause, "sqlstate") or hasattr(cause, "pgcode"):
        return _postgresql_says_unavailable(error, getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None))
    return bool(_ORACLE.fullmatch(getattr(first, "full_code", "")))


def _postgresql_says_unavailable(error: Error, state: str | None) -> bool:
    """Without a state the error is the client's own: it couldn't connect, or was disconnected."""
    if state is not None:
        return bool(_POSTGRESQL.fullmatch(state))
    closed = isinstance(error, InterfaceError) and re.search("connection .*closed", str(error))
    return isinstance(error, OperationalError) or bool(closed)


def seconds_of_outage(error: BaseException, delivery: Delivery) -> float | None:
    """Return for how many seconds this message's runs have found a database unavailable; None for another error."""
    if not unavailable_database(error):
        return None
    since = delivery.metadata.unavailable_since if delivery.metadata else 0
    return max(0.0, time.time() - since / 1_000) if since else 0.0


def outage_of_all(error: BaseException, deliveries: Sequence[Delivery], policy: RetryPolicy) -> bool:
    """Return whether a call for several failed by no fault of theirs: to run each alone would only find the same."""
    if not (policy.retries(error) and unavailable_database(error)):
        return False
    return all((seconds_of_outage(error, each) or 0.0) < LONGEST_OUTAGE for each in deliveries)


class OutageLog:
    """Logs runs that failed since a database was unavailable: of each cause one line a second, with their number."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._runs = Recurring()

    def takes(self, delivery: Delivery, outcome: Outcome | None) -> bool:
        """Return whether this is such a run; if so, keep it for `log_due`."""
        if not isinstance(outcome, RetryLater) or outcome.counted or not outcome.unavailable:
            return False
        failure, delay = outcome.failure, outcome.delay

        def log(runs: int) -> None:
            extra = {"handler": failure.handler, "traceback": failure.traceback, "runs": runs}
            logger.warning(
                "%s: %d runs of %s failed because a database was unavailable, or isn't migrated. They use up no retry. "
                "The last, %r, runs again in %.1f s: %r",
                self._membership.label, runs, failure.handler, delivery.history().id, delay, failure.error,
                extra={**about(self._membership, delivery), **extra},
            )  # fmt: skip

        self._runs.add((failure.handler,), failure.error, 1, log)
        return True

    def log_due(self, *, now: bool = False) -> None:
        """Log the runs so far, unless the last lines are younger than a second; with `now`, in any case."""
        self._runs.log_due(now=now)
