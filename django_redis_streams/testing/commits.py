"""What handlers leave for a commit that a TestCase never makes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.db import connections as databases

__all__ = ["Commits"]

logger = logging.getLogger("django_redis_streams")


class Commits:
    """Calls what was registered by `transaction.on_commit` since this was made, where a test's transaction is open.

    A worker runs each handler outside of any transaction: what it registers is called at once, or at the end of its own
    `atomic`. What the test itself had registered before stays, for captureOnCommitCallbacks.
    """

    def __init__(self) -> None:
        self._began = {each.alias: len(each.run_on_commit) for each in databases.all(initialized_only=True)}

    def run(self) -> int:
        """Call them; how many there were."""
        count = 0
        for database in databases.all(initialized_only=True):
            began = self._began.get(database.alias, 0)
            while database.in_atomic_block and len(database.run_on_commit) > began:
                # The savepoints that it belongs to, the function, and whether its errors harm nobody.
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
