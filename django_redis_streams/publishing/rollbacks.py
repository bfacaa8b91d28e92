"""Rollbacks of which Django's list of callbacks doesn't know: what was published before them isn't sent.

| what rolls back | how it is noticed |
|---|---|
| PostgreSQL, at the COMMIT, where the error of a query was caught | libpq tells before the COMMIT |
| MySQL and MariaDB, the whole transaction, at a deadlock | by the number of the error |
| SQLite, the whole transaction, by `RAISE(ROLLBACK)`, `OR ROLLBACK` or a full disk | after the error none is open |
| the program, to a savepoint that it has made by `transaction.savepoint()` | by the number in the savepoint's name |
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from .waiting import Waiting, waiting_on

__all__ = ["drop_what_is_lost", "notice_rollbacks"]

logger = logging.getLogger("django_redis_streams")

# What libpq says of a transaction that commits nothing any more
# (https://www.postgresql.org/docs/current/libpq-status.html).
_FAILED: Final = 3
# What InnoDB rolls a whole transaction back for: ER_LOCK_DEADLOCK
# (https://dev.mysql.com/doc/refman/8.4/en/innodb-error-handling.html).
_DEADLOCK: Final = 1213


def drop_what_is_lost(database: BaseDatabaseWrapper) -> None:
    """Take our callbacks off a transaction that PostgreSQL rolls back at its COMMIT, without an error.

    It does so where a query has failed and its error was caught. Django knows of that only for some queries, and calls
    the callbacks for the others, as if all had been committed.
    """
    status = getattr(getattr(database.connection, "info", None), "transaction_status", None)
    ours = waiting_on(database)
    if status is None or int(status) != _FAILED or not ours or any(each.needs_rows for each in ours):
        return  # where rows are to be inserted, that raises
    _drop(database, ours)
    logger.error(
        "%d messages of a transaction of database %r aren't published, as PostgreSQL rolls it back: the error of a "
        "query was caught in it. Let it raise, or wrap what may fail in a transaction.atomic() of its own, in the try.",
        _count(ours), database.alias,
    )  # fmt: skip


def notice_rollbacks(database: BaseDatabaseWrapper) -> None:
    """Have our callbacks taken off at each rollback of this connection that leaves them in Django's list."""
    _notice_savepoints(database)
    if database.vendor in ("mysql", "sqlite"):
        # In front: Django takes those of `execute_wrapper` off the end, in turn.
        database.execute_wrappers.insert(0, _notice_rollback)


def _notice_savepoints(database: BaseDatabaseWrapper) -> None:
    """Drop what is rolled back to a savepoint that was made by hand.

    Django notes with each callback the savepoints of atomic blocks alone. All have a number, counted by the
    connection, so what was published after one was made has its number or a later one. (A program that has called
    `clean_savepoints()` counts from the start again, and gives names twice.)
    """
    roll_back = database.savepoint_rollback

    def roll_back_and_drop(sid: str | None) -> None:
        roll_back(sid)  # type: ignore[arg-type]  # None where the database has no savepoints: then nothing is done
        number = str(sid).rpartition("_x")[2]
        if number.isdecimal():
            _drop(database, [each for each in waiting_on(database) if each.savepoint >= int(number)])

    database.savepoint_rollback = roll_back_and_drop  # type: ignore[method-assign]  # this one's alone


def _notice_rollback(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Execute a statement. Where the database answers with a rollback, drop what waits, and let nothing be committed.

    Else a program that catches the error would go on in a new transaction, and its COMMIT call the callbacks.
    """
    try:
        return execute(sql, params, many, context)
    except Error as error:
        database = context["connection"]
        if database.in_atomic_block and _has_rolled_back(database, error) and (ours := waiting_on(database)):
            _drop(database, ours)
            database.needs_rollback = True
            logger.warning(
                "%d messages of a transaction of database %r aren't published, as the database has rolled it back: %s",
                _count(ours), database.alias, error,
            )  # fmt: skip
        raise


def _has_rolled_back(database: BaseDatabaseWrapper, error: Error) -> bool:
    """Return whether the whole transaction is gone by this error."""
    if database.vendor == "mysql":
        return error.args[:1] == (_DEADLOCK,)
    return getattr(database.connection, "in_transaction", None) is False


def _drop(database: BaseDatabaseWrapper, lost: Iterable[Waiting]) -> None:
    """Take these off the callbacks of the transaction."""
    dropped = set(map(id, lost))
    if dropped:
        database.run_on_commit = [
            each for each in database.run_on_commit if id(getattr(each[1], "__self__", None)) not in dropped
        ]


def _count(ours: Iterable[Waiting]) -> int:
    return sum(len(each.whole) for each in ours)
