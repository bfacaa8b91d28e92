"""Whether the inbox is there: its app, and its table."""

from __future__ import annotations

from typing import Final

from django.apps import apps
from django.db import DatabaseError

from ..exceptions import ConfigurationError
from ..querying import how_to_make

__all__ = [
    "HOW_TO_INSTALL", "LABEL", "LONGEST", "TABLE", "InboxTableMissing", "is_installed", "missing_table",
    "table_is_missing",
]  # fmt: skip

# Of each column of text, in characters: an index of MySQL takes 3,072 bytes, and a character up to 4.
LONGEST: Final = 255
# What goes into INSTALLED_APPS, and the name by which `migrate` knows it.
_APP: Final = "django_redis_streams.inbox"
LABEL: Final = "django_redis_streams_inbox"
TABLE: Final = f"{LABEL}_inboxmessage"
HOW_TO_INSTALL: Final = f"add {_APP!r} to INSTALLED_APPS, and run manage.py migrate."


class InboxTableMissing(ConfigurationError):
    """The database has no table of the inbox. It is no fault of a message, which can run once the table is made."""


def is_installed() -> bool:
    """Return whether the app is in INSTALLED_APPS."""
    return apps.is_installed(_APP)


def table_is_missing(using: str) -> str:
    """Return a sentence that says that the database has no table."""
    return f"Database {using!r} has no table {TABLE!r}, in which the inbox keeps what has had its effect."


def missing_table(error: DatabaseError, using: str) -> InboxTableMissing | None:
    """Return what to raise instead of an error that only says that the table isn't there; None for another."""
    # Each database's own words hold the table's name where it is missing; what else fails names no table.
    if not _names_table(error):
        return None
    return InboxTableMissing(f"{table_is_missing(using)} {how_to_make(LABEL, using)}")


def _names_table(error: DatabaseError) -> bool:
    code = getattr(error.__cause__, "sqlstate", None) or getattr(error.__cause__, "pgcode", None)
    if code is not None:
        return code in {"42P01", "42S02"}  # PostgreSQL's, and pymysql's
    text = str(error)
    return TABLE in text and ("no such table" in text or "1146" in text or "ORA-00942" in text)
