"""Questions to databases: whether a table is there, whether a text is exactly that; any question with a time limit.

And how to make a table that is missing, deleting rows that are the package's own, and whether `atomic()` commits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.db import NotSupportedError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import CharField, Func, Q, QuerySet
from django.db.models.lookups import In

__all__ = [
    "Exactly", "Question", "check_commits", "delete", "exactly", "has_table", "how_to_commit", "how_to_make",
    "migrate_command", "takes",
]  # fmt: skip

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


def how_to_commit(database: BaseDatabaseWrapper) -> str:
    """Return a sentence that says how to turn the autocommit of a database on, which is off."""
    if not database.settings_dict["AUTOCOMMIT"]:
        return f"Take AUTOCOMMIT out of the entry {database.alias!r} of DATABASES"
    return "Turn it on by set_autocommit(True)"


def check_commits(alias: str) -> None:
    """Raise `NotSupportedError`, which is an error of databases, where `atomic()` would commit nothing.

    Without autocommit Django leaves the COMMIT to the program. Asks the connection without opening it.
    """
    database = connections[alias]
    if database.in_atomic_block and database.commit_on_exit:
        return
    # A connection that isn't open yet will be as DATABASES says.
    if not (database.settings_dict["AUTOCOMMIT"] if database.connection is None else database.autocommit):
        raise NotSupportedError(
            f"Autocommit of database {alias!r} is off, so what is changed here would never be committed. "
            f"{how_to_commit(database)}."
        )


class Exactly(Func):
    """A column of text, as what tells texts apart.

    MySQL and MariaDB hold texts to be equal that differ in case, in accents or in spaces at their end. So what is
    asked for by a name, or grouped by it, may be another's there.
    """

    template = "%(expressions)s"
    arity = 1

    def __init__(self, column: str) -> None:
        super().__init__(column, output_field=CharField())

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Compare the bytes, of one encoding whatever the column's is."""
        template = "CAST(CONVERT(%(expressions)s USING utf8mb4) AS BINARY)"
        return self.as_sql(compiler, connection, template=template, **context)


def exactly(column: str, texts: Iterable[str]) -> Q:
    """Return the condition that a column holds one of these texts, on each database the very same one."""
    return Q(In(Exactly(column), list(texts)))


def takes(text: str) -> bool:
    """Return whether every database takes a text in a query: a NUL some refuse, half a character all."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def delete(rows: QuerySet[Any]) -> None:
    """Delete rows by one statement, without signals.

    A receiver of all models' deletions, as an app for audits has one, would have each row read again first. One that
    raises would keep rows of what is done, which would be done again and again.
    """
    rows._raw_delete(rows.db)  # noqa: SLF001  what `delete` itself calls where it can


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
