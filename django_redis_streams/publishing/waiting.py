"""What waits for the commit of a database transaction: an object for each call of `publish`, in Django's callbacks."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from ..wire import Fields
from .committing import CommittedRows
from .encoded import Call
from .sending import publish_after_commit

__all__ = ["Waiting", "waiting_on"]

logger = logging.getLogger("django_redis_streams")


class Waiting:
    """What one call publishes on commit. It is sent once, however often `send` is called."""

    __slots__ = ("_database", "call", "rows", "savepoint", "sent", "settles", "whole")

    def __init__(self, call: Call, whole: Sequence[Fields], database: BaseDatabaseWrapper) -> None:
        self.call = call
        self.whole = whole
        self.rows: CommittedRows | None = None
        self.sent = False
        # Whether somebody else's callback comes next, or none: it may take longer than the lease of the rows.
        self.settles = True
        # The number of the last savepoint that was made before.
        self.savepoint: int = database.savepoint_state
        self._database = database

    @property
    def needs_rows(self) -> bool:
        """Whether its rows are to be inserted at the commit."""
        return self.call.config.outbox == "always" and not self.sent

    def send(self) -> None:
        """Send it, if it isn't sent: the callback that Django has."""
        if self.sent:
            return
        without_rows = self.needs_rows and self.rows is None
        self.sent = True
        if self.rows is not None:
            self.rows.send(self.call, self.whole, settles=self.settles)
            return
        # captureOnCommitCallbacks sends within the transaction of a TestCase, which never commits.
        if without_rows and not self._database.in_atomic_block:
            _tell_without_rows(self._database.alias)
        publish_after_commit(self.call, self.whole, self._database.alias)


# The databases that were told of: once each.
_without_rows: set[str] = set()


def _tell_without_rows(using: str) -> None:
    if using not in _without_rows:
        _without_rows.add(using)
        logger.error(
            "A transaction of database %r was committed in a way that this version of django_redis_streams doesn't "
            "know, so the outbox has no row of what it published: a process that is killed now loses it. Commit by "
            "transaction.atomic(), and report this with your version of Django. This is logged once.",
            using,
        )


def waiting_on(database: BaseDatabaseWrapper) -> list[Waiting]:
    """Return our registered callbacks' objects, in the order of registration."""
    owners = (getattr(registered[1], "__self__", None) for registered in database.run_on_commit)
    return [owner for owner in owners if isinstance(owner, Waiting)]
