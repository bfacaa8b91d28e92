"""Django's database connections, looked after in the thread that runs handlers.

A handler never meets a connection that went stale while the worker waited, and never one in which an
earlier message left a transaction open (https://docs.djangoproject.com/en/stable/ref/databases/#persistent-connections).
"""

from __future__ import annotations

import time

from django.db import connections

__all__ = ["Databases"]

# A check is a query: one in this many seconds costs a slow handler nothing and a fast batch one.
_TRUSTED_FOR = 0.1


class Databases:
    """This thread's database connections."""

    def __init__(self) -> None:
        self._checked = 0.0

    def before_message(self) -> None:
        """Drop what is unusable, unless it was looked at a moment ago."""
        now = time.monotonic()
        if now - self._checked > _TRUSTED_FOR:
            for connection in connections.all(initialized_only=True):
                if connection.connection is not None and not connection.is_usable():
                    connection.close()
            self._checked = now

    def after_message(self) -> None:
        """Roll back what a handler left open: the next message must not commit it."""
        for connection in connections.all(initialized_only=True):
            if connection.connection is not None and _left_open(connection):
                # A wrapper in the middle of an atomic block can't be mended: a new one takes its place.
                connection.connection.close()
                del connections[connection.alias]

    def after_batch(self) -> None:
        """Close what CONN_MAX_AGE says is too old, at once where it is 0."""
        for connection in connections.all(initialized_only=True):
            connection.close_if_unusable_or_obsolete()

    def close(self) -> None:
        """Close all of them."""
        connections.close_all()


def _left_open(connection: object) -> bool:
    settings = connection.settings_dict  # type: ignore[attr-defined]
    changed: bool = connection.get_autocommit() != settings["AUTOCOMMIT"]  # type: ignore[attr-defined]
    return connection.in_atomic_block or changed  # type: ignore[attr-defined]
