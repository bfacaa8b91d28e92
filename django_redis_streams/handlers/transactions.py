"""The transaction of an `atomic` handler. If the function returned but the transaction didn't commit, the run failed.

Django itself rolls back in silence, once an error of a query was caught inside the block
(https://docs.djangoproject.com/en/stable/topics/db/transactions/#controlling-transactions-explicitly).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from inspect import iscoroutine
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ..exceptions import HandlerError, NotCommitted

__all__ = ["in_transaction", "open_in_driver"]

# What libpq says of a connection (https://www.postgresql.org/docs/current/libpq-status.html).
_IDLE, _FAILED = 0, 3

Execute = Callable[[str, Any, bool, Any], Any]


def in_transaction(function: Callable[[Any], Any], alias: str) -> Callable[[Any], Any]:
    """Have each call of the function run in a transaction of that database.

    Raises `NotCommitted` where the function returned and its work isn't committed, unless it asked for that by
    `transaction.set_rollback(True)`; and `HandlerError` where it gave a coroutine, which would run after the commit.
    """

    @wraps(function)
    def call(argument: Any) -> None:
        with _committed(alias):
            result = function(argument)
            if iscoroutine(result):
                result.close()
                raise HandlerError(
                    f"{function.__qualname__} has atomic={alias!r} and gave a coroutine, which can't run in a "
                    "transaction. Take atomic=False, and open the transaction in a function called by sync_to_async()."
                )

    return call


def open_in_driver(raw: Any) -> bool | None:
    """Return whether a driver's connection is in a transaction; None where the driver doesn't tell."""
    if hasattr(raw, "in_transaction"):  # sqlite3
        return bool(raw.in_transaction)
    status = _status(raw)
    return None if status is None else status != _IDLE


def _status(raw: Any) -> int | None:
    """Return what psycopg and psycopg2 know of the transaction."""
    status = getattr(getattr(raw, "info", None), "transaction_status", None)
    return None if status is None else int(status)


@contextmanager
def _committed(alias: str) -> Iterator[None]:
    with transaction.atomic(using=alias):
        connection = connections[alias]
        if not connection.commit_on_exit:
            raise NotCommitted(
                f"The database {alias!r} has AUTOCOMMIT off: Django wouldn't commit the handler's transaction. Turn it "
                "on, or take atomic=False and commit in the handler."
            )
        with _savepoint(connection):
            watched, began_in = _Watched(connection), os.getpid()
            try:
                yield
                # A process that the handler forked comes here too, and leaves the transaction to its parent.
                if os.getpid() == began_in:
                    watched.check()
            finally:
                watched.end()


def _savepoint(connection: BaseDatabaseWrapper) -> AbstractContextManager[Any]:
    """Open a savepoint if the driver can't tell whether the transaction was ended meanwhile: it would be gone then."""
    told = open_in_driver(connection.connection) is not None
    return nullcontext() if told else transaction.atomic(using=connection.alias)


class _Watched:
    """A transaction from its begin: whether it is still the same at its end, and will commit.

    `connection.needs_rollback` is set by Django where a query failed, a block with savepoint=False was left by an
    exception or the connection was closed; and by `set_rollback(True)`. Only the last is the handler's wish.
    `connection.rollback_exc` (Django 5.2 to 6.1) doesn't tell them apart: it is set by failed queries alone, and never
    reset. So the wish is noted when it is made; any other rollback is a failure.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._depth = len(connection.savepoint_ids)
        self._wished = False
        # psycopg begins a transaction with the first query: until then it is idle, and nothing is lost.
        self._begun = open_in_driver(connection.connection) is True
        self._ended = False
        self._error: BaseException | None = None
        # By `vars`: the stubs know no `rollback_exc`, and a method may not be assigned.
        vars(connection).update(rollback_exc=None, set_rollback=self._set_rollback)
        connection.execute_wrappers.append(self._execute)

    def end(self) -> None:
        """Stop watching."""
        vars(self._connection).pop("set_rollback", None)
        self._connection.execute_wrappers.remove(self._execute)
        self._error = None  # its traceback holds a frame that holds this

    def check(self) -> None:
        """Raise `NotCommitted` where the transaction isn't there any more, or would be rolled back unasked."""
        connection, alias = self._connection, self._connection.alias
        if connection.closed_in_transaction or connections[alias] is not connection:
            raise NotCommitted(
                f"The connection to the database {alias!r} was closed in the handler's transaction, whose work is "
                "lost. Leave connections alone in an atomic handler, or take atomic=False."
            )
        self._look()
        if self._ended:
            raise NotCommitted(
                f"The handler's transaction in the database {alias!r} was ended before the handler returned, by a "
                "COMMIT or ROLLBACK, on the driver's own connection too, or by the database at an error. Leave these "
                "to atomic, or take atomic=False."
            )
        failed = connection.needs_rollback or _status(connection.connection) == _FAILED
        if failed and not self._wished:
            raise NotCommitted(
                f"The handler's transaction in the database {alias!r} had to be rolled back: an error was caught in it "
                "after which the database or Django commits nothing. Let it raise; or wrap what may fail in a "
                "transaction.atomic() of its own, inside the try; or ask for it by transaction.set_rollback(True)."
            ) from (vars(connection)["rollback_exc"] or self._error)

    def _set_rollback(self, rollback: bool) -> None:
        """Call Django's own; note the wish if it means this transaction and not a savepoint in it."""
        type(self._connection).set_rollback(self._connection, rollback)
        if not any(self._connection.savepoint_ids[self._depth :]):
            self._wished = rollback

    def _look(self) -> None:
        """Ask the driver: a transaction that was open and isn't any more has ended, whoever ended it."""
        is_open = open_in_driver(self._connection.connection)
        self._ended = self._ended or (self._begun and is_open is False)
        self._begun = self._begun or is_open is True

    def _execute(self, execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not self._connection.closed_in_transaction:
            self._look()  # a query may begin another
        try:
            return execute(sql, params, many, context)
        except BaseException as error:
            self._error = error
            raise
        finally:
            if not self._connection.closed_in_transaction:
                self._begun = True
                self._look()
