"""Waiting for the commit of a database transaction, also where other people's callbacks of that commit fail.

What the outbox is to keep is inserted right before that commit.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Final
from weakref import WeakSet

from django.db import DatabaseError, Error, transaction
from django.db import connections as databases
from django.db.backends.base.base import BaseDatabaseWrapper

from .. import connections
from ..exceptions import TransactionError
from ..querying import how_to_commit
from ..wire import Fields
from .committing import CommittedRows
from .encoded import Call
from .outboxes import outbox_of
from .rollbacks import drop_what_is_lost, notice_rollbacks
from .waiting import Waiting, waiting_on

__all__ = ["in_transaction", "publish_on_commit", "unsent"]

logger = logging.getLogger("django_redis_streams")

# The pairs of databases that were warned of.
_warned: set[tuple[str, str]] = set()


def in_transaction(using: str) -> bool:
    """Return whether Django will tell when `using` commits. Asks the connection without opening it.

    Raises `TransactionError` where autocommit was turned off by hand: Django doesn't say when such a transaction
    commits, so now might be too early and on commit never
    (https://docs.djangoproject.com/en/stable/topics/db/transactions/#use-of-on-commit-with-autocommit-off).
    """
    database = databases[using]
    if database.in_atomic_block and database.commit_on_exit:
        return True
    # A connection that isn't open yet will be as DATABASES says.
    autocommits = database.settings_dict["AUTOCOMMIT"] if database.connection is None else database.autocommit
    if not autocommits:
        raise TransactionError(
            f"Autocommit of database {using!r} is off, so Django can't tell when its transaction commits. "
            f"{how_to_commit(database)} before you publish, and use transaction.atomic()."
        )
    if len(databases.settings) > 1:
        _warn_of_another(using)
    return False


def _warn_of_another(using: str) -> None:
    """Log, once for each pair of databases, that a message doesn't wait although a transaction of another is open."""
    for each in databases.all(initialized_only=True):
        if each.alias != using and each.in_atomic_block and (using, each.alias) not in _warned:
            _warned.add((using, each.alias))
            logger.warning(
                "A message was published at once within a transaction of database %r, because %r, the database that it "
                "waits for, has none open. Publish with using=%r to have it wait for that commit. This is logged once.",
                each.alias, using, each.alias,
            )  # fmt: skip


def publish_on_commit(call: Call, whole: Sequence[Fields], using: str) -> None:
    """Send all when the transaction of `using` commits, and nothing where it, or the savepoint, is rolled back.

    With the OUTBOX "always", rows are inserted right before that commit.

    Raises `ConfigurationError` for a URL or an option that can't work, and for an outbox without its app or its table:
    now the caller can still hear of it.
    """
    connections.get(call.config.connection)
    database = databases[using]
    if call.config.outbox is not None:
        outbox_of(call.config).check_table(using)
        if call.config.outbox == "always":
            _insert_before_commits(database)
    _guard(database)
    transaction.on_commit(Waiting(call, whole, database).send, using=using, robust=True)


def unsent(database: BaseDatabaseWrapper) -> int:
    """Return how many calls of `publish` wait for the commit of this connection's transaction."""
    return sum(not each.sent for each in waiting_on(database))


# The connections that insert rows, each for as long as it lives.
_inserting: Final[WeakSet[BaseDatabaseWrapper]] = WeakSet()


def _insert_before_commits(database: BaseDatabaseWrapper) -> None:
    """Have the rows of our registered callbacks inserted at each commit of this connection, as its last statement.

    Only there is it certain what belongs to the transaction: `run_on_commit` is then without all that was rolled back
    to a savepoint. And all rows take one statement. `Atomic` commits by the connection's own method, so what the INSERT
    raises comes out of the `with` block as an error of the COMMIT does, and Django rolls back.
    """
    if database in _inserting:
        return
    commit = database.commit

    def insert_and_commit() -> None:
        # A commit by hand in an atomic block: Django refuses it, and what it would commit isn't committed.
        if not database.in_atomic_block:
            _insert_rows(database)
        commit()

    _inserting.add(database)
    database.commit = insert_and_commit  # type: ignore[method-assign]  # this one's alone


def _insert_rows(database: BaseDatabaseWrapper) -> None:
    waiting = [each for each in waiting_on(database) if each.needs_rows]
    if not waiting:
        return
    rows = CommittedRows(database, outbox_of(waiting[0].call.config), len(waiting))
    try:
        rows.insert([(each.call, entry) for each in waiting for entry in each.whole])
    except DatabaseError:
        raise
    except BaseException:
        # For these Django doesn't roll back, and turning autocommit on again would commit, on some databases.
        try:
            database.rollback()
        except Error:
            database.close()
        raise
    for each in waiting:
        each.rows = rows
    owners = [getattr(registered[1], "__self__", None) for registered in database.run_on_commit]
    following = {id(owner): after for owner, after in pairwise(owners)}
    for each in waiting:
        after = following.get(id(each))
        each.settles = not isinstance(after, Waiting) or after.rows is None


# The connections that are guarded, each for as long as it lives.
_guarded: Final[WeakSet[BaseDatabaseWrapper]] = WeakSet()


def _guard(database: BaseDatabaseWrapper) -> None:
    """Have our callbacks called at each commit of this connection, whatever other callbacks do.

    Django calls the registered callbacks one by one. If one raises, those registered after it are dropped without a
    word. `robust=True` keeps our errors from others, but nothing that Django offers keeps theirs from ours. So after
    the connection's own method that calls them, those of ours that it didn't reach are called.

    Only there is it certain what has been committed: `run_on_commit` is then without all that was rolled back, and is
    this connection's, in whatever thread or coroutine. Our callbacks stay ordinary ones in Django's list, called in
    their turn and seen by `captureOnCommitCallbacks`; other people's are neither wrapped nor reordered, and what they
    raise goes on. (Putting ours in front would do both, and break code that captures by position; an object that
    notices when it is dropped can't tell a rollback, and lives for as long as the traceback.)

    Should a later Django rename that method, ours are called as any callback is: no worse than without this.
    """
    if database in _guarded:
        return
    call_all, commit = database.run_and_clear_commit_hooks, database.commit

    def drop_and_commit() -> None:
        if not database.in_atomic_block:
            drop_what_is_lost(database)
        commit()

    def call_all_and_send_ours() -> None:
        # Django refuses a call by hand in an atomic block: nothing is committed.
        ours = [] if database.in_atomic_block else waiting_on(database)
        with ExitStack() as after:
            for waiting in reversed(ours):
                after.callback(waiting.send)
            call_all()

    notice_rollbacks(database)
    _guarded.add(database)
    database.run_and_clear_commit_hooks = call_all_and_send_ours  # type: ignore[method-assign]  # this one's alone
    database.commit = drop_and_commit  # type: ignore[method-assign]  # as above
