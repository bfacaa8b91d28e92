"""The databases that hold rows of the outbox, and their errors in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Final

from django.db import Error, connections, router, transaction
from django.utils.translation import gettext as _

from ..exceptions import StreamsError
from ..querying import has_table, migrate_command
from .models import OutboxMessage
from .presence import LABEL, TABLE

__all__ = ["OutboxUnavailable", "TableMissing", "aliases", "asking", "every_database", "forbidden", "unavailable"]

# The engine of an entry of DATABASES that names none.
_NO_DATABASE: Final = "django.db.backends.dummy"


class OutboxUnavailable(StreamsError):
    """The rows of a database can't be read or changed now."""


class TableMissing(OutboxUnavailable):
    """A database that is to have the table doesn't have it."""


def aliases() -> Sequence[str]:
    """Return the databases that the project's routers let have the table, in the order of DATABASES."""
    return [alias for alias in every_database() if router.allow_migrate_model(alias, OutboxMessage)]


def forbidden() -> Sequence[str]:
    """Return the databases that a router keeps the table out of: no relay looks there, even if one has it."""
    return [alias for alias in every_database() if not router.allow_migrate_model(alias, OutboxMessage)]


def every_database() -> Sequence[str]:
    """Return all databases. An entry without an engine, as Django allows for "default", is none."""
    return [alias for alias in connections if connections.settings[alias]["ENGINE"] != _NO_DATABASE]


def unavailable(alias: str, why: str) -> OutboxUnavailable:
    """Return the error of a database that doesn't do what it is asked."""
    text = _("The outbox of the database “%(database)s” can't be used: %(error)s")
    return OutboxUnavailable(text % {"database": alias, "error": why})


@contextmanager
def asking(alias: str) -> Iterator[None]:
    """Raise an error of the database as an `OutboxUnavailable`; a transaction around it goes on."""
    try:
        # PostgreSQL takes no further statement in a transaction with an error, but for one that is rolled back.
        with transaction.atomic(using=alias) if connections[alias].in_atomic_block else nullcontext():
            yield
    except Error as error:
        raise _in_words(alias, error) from error


def _in_words(alias: str, error: Error) -> OutboxUnavailable:
    missing = False
    with suppress(Error):  # whoever can't list the tables has told why already
        missing = not has_table(alias, TABLE)
    if missing:
        text = _("The database “%(database)s” has no table for the outbox. Create it: %(command)s")
        return TableMissing(text % {"database": alias, "command": migrate_command(LABEL, alias)})
    return unavailable(alias, str(error).strip())
