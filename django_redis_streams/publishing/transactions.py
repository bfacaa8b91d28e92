"""Waiting for the commit of a database transaction, also where other people's callbacks of that commit fail."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final
from weakref import WeakSet

from django.db import connections as databases
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .. import connections
from ..exceptions import TransactionError
from ..wire import Fields
from .encoded import Call
from .sending import publish_after_commit

__all__ = ["in_transaction", "publish_on_commit", "unsent"]


def in_transaction(using: str) -> bool:
    """Return whether Django will tell when `using` commits. Asks the connection without opening it.

    Raises `TransactionError` where autocommit was turned off by hand: Django doesn't say when such a transaction
    commits, so now might be too early and on commit never
    (https://docs.djangoproject.com/en/stable/topics/db/transactions/#use-of-on-commit-with-autocommit-off).
    """
    database = databases[using]
    if database.in_atomic_block and database.commit_on_exit:
        return True
    if database.connection is not None and not database.autocommit:
        raise TransactionError(
            f"Autocommit of database {using!r} is off, so Django can't tell when its transaction commits. Turn it "
            "on with set_autocommit(True) before you publish, and use transaction.atomic()."
        )
    return False


def publish_on_commit(call: Call, whole: Sequence[Fields], using: str) -> None:
    """Send all when the transaction of `using` commits, and nothing where it, or the savepoint, is rolled back.

    Raises `ConfigurationError` for a URL or an option that can't work: now the caller can still hear of it.
    """
    connections.get(call.config.connection)
    _guard(databases[using])
    transaction.on_commit(_Waiting(call, whole).send, using=using, robust=True)


def unsent(database: BaseDatabaseWrapper) -> int:
    """Return how many calls of `publish` wait for the commit of this connection's transaction."""
    return sum(not each.sent for each in _waiting(database))


class _Waiting:
    """What one call publishes on commit. It is sent once, however often `send` is called."""

    __slots__ = ("_call", "_whole", "sent")

    def __init__(self, call: Call, whole: Sequence[Fields]) -> None:
        self._call = call
        self._whole = whole
        self.sent = False

    def send(self) -> None:
        if not self.sent:
            self.sent = True
            publish_after_commit(self._call, self._whole)


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
    call_all = database.run_and_clear_commit_hooks

    def call_all_and_send_ours() -> None:
        with ExitStack() as after:
            for waiting in reversed(_waiting(database)):
                after.callback(waiting.send)
            call_all()

    _guarded.add(database)
    database.run_and_clear_commit_hooks = call_all_and_send_ours  # type: ignore[method-assign]  # this one's alone


def _waiting(database: BaseDatabaseWrapper) -> list[_Waiting]:
    """Return our registered callbacks' objects, in the order of registration."""
    owners = (getattr(registered[1], "__self__", None) for registered in database.run_on_commit)
    return [owner for owner in owners if isinstance(owner, _Waiting)]
