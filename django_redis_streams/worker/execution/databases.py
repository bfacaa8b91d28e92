"""Django's database connections, looked after in the thread that runs handlers.

A handler never meets a connection that went stale while the worker waited, and never one in which an
earlier message left a transaction open (https://docs.djangoproject.com/en/stable/ref/databases/#persistent-connections).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from ...exceptions import NotCommitted
from ...handlers.transactions import open_in_driver
from ..timing import DEFAULT_TIMING

__all__ = ["Databases", "close_pools", "forget_inherited", "left_alone"]

# How many connections of a stale pool may be thrown away to get one that can be used.
_MOST_STALE = 100

# For each thread, the Databases that look after it.
_here = threading.local()
# A forked child's copies of its parent's connections: never to be used, nor freed, which would end the parent's
# sessions.
_inherited: list[object] = []


@contextmanager
def left_alone() -> Iterator[None]:
    """Leave this thread's connections to the caller in this block: a test's transaction isn't rolled back or closed."""
    _here.left_alone = True
    try:
        yield
    finally:
        _here.left_alone = False


def close_pools() -> None:
    """Close the calling thread's connections, and the pools of all threads, which `connections.close_all` leaves open.

    A pool that is needed again is made anew. A connection that another thread has taken from its pool stays open.
    """
    connections.close_all()
    for connection in connections.all():
        if _has_pool(connection):
            connection.close_pool()  # type: ignore[attr-defined]  # only those backends have it that have pools


def _has_pool(connection: BaseDatabaseWrapper) -> bool:
    """Return whether there is a pool; access by its name would make one. Oracle's are by alias and user."""
    pools = getattr(connection, "_connection_pools", {})
    return any(connection.alias in ((key,) if isinstance(key, str) else key) for key in pools)


def forget_inherited() -> None:
    """In a forked child: leave the parent's connections to the parent. Code that needs one here opens its own."""
    for connection in connections.all(initialized_only=True):
        pools = getattr(connection, "_connection_pools", {})
        _inherited.extend((connection, dict(pools)))
        pools.clear()
        del connections[connection.alias]


@receiver(connection_created, dispatch_uid="django_redis_streams.worker")
def _opened(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Note that this thread has opened a connection.

    A thread that never opens a connection pays nothing for looking after them.
    """
    databases: Databases | None = getattr(_here, "databases", None)
    if databases is None:
        return
    databases.any_open = True
    if getattr(connection, "pool", None) and not connection.settings_dict["CONN_HEALTH_CHECKS"]:
        databases.take_usable(connection)


class Databases:
    """This thread's database connections; `any_open` is False as long as it has none.

    For `trust` seconds within a batch, a connection that served well isn't checked again.
    """

    def __init__(self, trust: float = DEFAULT_TIMING.trust_connection) -> None:
        self._trust = trust
        self._left_alone = getattr(_here, "left_alone", False)
        self.any_open = not self._left_alone
        self.before_batch()

    def before_batch(self) -> None:
        """Trust nothing: there may have been a wait."""
        self._checked = float("-inf")

    def watch(self, *, no_longer: bool = False) -> None:
        """Notice, from now on or no longer, when a connection is opened in the calling thread."""
        if not self._left_alone:
            _here.databases = None if no_longer else self

    def take_usable(self, connection: BaseDatabaseWrapper) -> None:
        """Replace a connection that a pool gave, if it went stale in there, by another."""
        self.watch(no_longer=True)  # or each further connection would be looked at in here
        try:
            for _ in range(_MOST_STALE):
                if connection.is_usable():
                    break
                connection.close()
                connection.connect()
        finally:
            self.watch()

    def before_message(self) -> None:
        """Close unusable connections. One checked a moment ago in this batch, without an error since, is trusted."""
        if not self.any_open:
            return
        now = time.monotonic()
        trusted = now - self._checked <= self._trust
        for connection in connections.all(initialized_only=True):
            if connection.connection is None or (trusted and not connection.errors_occurred):
                continue
            if connection.is_usable():
                connection.errors_occurred = False
            else:
                connection.close()
        self._checked = now if not trusted else self._checked

    def after_return(self) -> None:
        """Do as `after_message`, after a handler returned; raise `NotCommitted` if it left a transaction open."""
        if left := self.after_message():
            raise NotCommitted(
                f"The handler returned and left a transaction of the database {left[0]!r} open, which was rolled back. "
                "Commit it before, or use transaction.atomic() or @handler(atomic=…)."
            )

    def after_message(self) -> list[str]:
        """Roll back what a handler left open: the next message must not commit it. Return those databases' aliases."""
        if not self.any_open:
            return []
        rolled_back = []
        for connection in connections.all(initialized_only=True):
            if connection.connection is not None and _is_changed(connection):
                if _is_open(connection):
                    rolled_back.append(connection.alias)
                # A wrapper in the middle of an atomic block can't be mended: a new one takes its place.
                connection.close()
                del connections[connection.alias]
        return rolled_back

    def look_for_open(self) -> bool:
        """Return whether there is a connection, after an error: one that failed while it was opened told nobody."""
        self.any_open = self.any_open or (not self._left_alone and _any_open())
        return self.any_open

    def after_batch(self) -> None:
        """Close what CONN_MAX_AGE says is too old, at once where it is 0; forget the queries that DEBUG keeps."""
        if not self.any_open:
            return
        if settings.DEBUG:
            reset_queries()
        for connection in connections.all(initialized_only=True):
            connection.close_if_unusable_or_obsolete()
        self.any_open = _any_open()

    def close(self) -> None:
        """Close all connections of the thread."""
        if not self._left_alone:
            connections.close_all()


def _any_open() -> bool:
    return any(each.connection is not None for each in connections.all(initialized_only=True))


def _is_changed(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a handler left it in another state than Django makes it, also by a BEGIN in its own SQL."""
    autocommit = connection.get_autocommit() != connection.settings_dict["AUTOCOMMIT"]
    return connection.in_atomic_block or autocommit or bool(open_in_driver(connection.connection))


def _is_open(connection: BaseDatabaseWrapper) -> bool:
    """Return whether there may be work in it that isn't committed."""
    return connection.in_atomic_block or open_in_driver(connection.connection) is not False
