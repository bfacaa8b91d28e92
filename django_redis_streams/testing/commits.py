"""The commit callbacks of handlers, which a TestCase would never call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.db import connections as databases

__all__ = ["Commits"]

logger = logging.getLogger("django_redis_streams")


class Commits:
    """Calls the callbacks of `transaction.on_commit` that were registered since this was made, in a test's transaction.

    A worker runs each handler outside of any transaction, so its callbacks are called at once, or at the end of its own
    `atomic`. Callbacks that the test itself registered before are left to captureOnCommitCallbacks.
    """

    def __init__(self) -> None:
        self._began = {each.alias: len(each.run_on_commit) for each in databases.all(initialized_only=True)}

    def run(self) -> int:
        """Call the callbacks; return how many there were."""
        count = 0
        for database in databases.all(initialized_only=True):
            began = self._began.get(database.alias, 0)
            while database.in_atomic_block and len(database.run_on_commit) > began:
                # A tuple: the savepoints that it belongs to, the function, and whether its errors are only logged.
                waiting: tuple[Any, ...] = database.run_on_commit.pop(began)
                _call(waiting[1], robust=waiting[2])
                count += 1
        return count


def _call(callback: Callable[[], object], *, robust: bool) -> None:
    try:
        callback()
    except Exception:
        if not robust:
            raise
        logger.exception("A callback of transaction.on_commit(robust=True) failed")
