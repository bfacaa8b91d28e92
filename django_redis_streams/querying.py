"""Questions to databases: whether a table is there, and how to make it; and any question with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

from django.conf import settings
from django.db import connections

__all__ = ["Question", "has_table", "how_to_make", "migrate_command"]

T = TypeVar("T")


def has_table(alias: str, table: str) -> bool:
    """Return whether a database has a table, by its list of tables: a failed SELECT would break a transaction."""
    introspection = connections[alias].introspection
    return introspection.identifier_converter(table) in introspection.table_names()


def migrate_command(app: str, alias: str) -> str:
    """Return the command that makes the table of an app, named by its label, in a database."""
    return f"manage.py migrate {app} --database={alias}"


def how_to_make(app: str, alias: str) -> str:
    """Return a sentence that says how to make the table of an app in a database."""
    how = f"Run `{migrate_command(app, alias)}`."
    # Who has no router needn't read of any.
    if settings.DATABASE_ROUTERS:
        how += " DATABASE_ROUTERS have to allow it there; where nothing needs it, they may forbid it."
    return how


class Question(Thread, Generic[T]):
    """Asks one database by `ask`, beginning now.

    A daemon thread, as nothing waits for a hanging socket, not even the exit. `error` says why it got no answer, if
    that is known; `ask` may raise anything, as a driver or a router of the project may.
    """

    def __init__(self, alias: str, ask: Callable[[str], T]) -> None:
        super().__init__(daemon=True, name=f"question to database {alias!r}")
        self.error = ""
        self._alias, self._ask = alias, ask
        self._answer: T | None = None
        self.start()

    def run(self) -> None:
        """Ask, and close the thread's connection."""
        try:
            self._answer = self._ask(self._alias)
        except Exception as error:  # noqa: BLE001  as above
            self.error = f"{type(error).__name__}: {error}"
        finally:
            connections[self._alias].close()

    def answer(self, until: float) -> T | None:
        """Return the answer, None where there is none by then (on the monotonic clock)."""
        self.join(max(0.0, until - time.monotonic()))
        return self._answer
