"""Writing the table: an INSERT for the messages of a transaction, and a DELETE when they are on the server.

This is the `Outbox` that publishing asks for. The statements are made here rather than by the ORM, which would take
several times as long as the database itself. They are PostgreSQL's, MySQL's, MariaDB's and SQLite's; other databases
are written to by the ORM.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

from django.db import connections as databases
from django.db import router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Case, Value, When
from django.db.models.functions import Now

from ..exceptions import ConfigurationError
from ..publishing.outboxes import OutboxEntry, SentMessage
from ..querying import has_table, how_to_make
from .models import OutboxMessage
from .presence import LABEL, TABLE
from .rows import COLUMNS, row_of, values_of
from .standing import ON_TOO_FEW

__all__ = ["check_table", "insert", "release", "settle"]

T = TypeVar("T")

# Rows of one statement, and characters of their entries. The database's quoting may double these, and a server of
# MariaDB takes 16 MiB by default.
_MOST: Final = 1_000
_MOST_CHARACTERS: Final = 4 * 1024 * 1024
_ENTRY: Final = COLUMNS.index("entry")
# By the vendor of a database, its own time, so many seconds later; as the database's default does `created_at`. A value
# for the seconds would cost a third of an INSERT. Other databases are written to by the ORM.
_TIMES: Final[Mapping[str, str]] = {
    "mysql": "(CURRENT_TIMESTAMP(6) + INTERVAL {} SECOND)",
    "postgresql": "(STATEMENT_TIMESTAMP() + INTERVAL '{} seconds')",
    "sqlite": "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', '{} seconds')",
}
# What is lost with the last moments before a crash of the database comes back as a row that is sent twice: not worth
# waiting for the disk. The setting holds for this one statement.
_QUICK: Final = "WITH quick AS (SELECT set_config('synchronous_commit', 'off', true)) "

# The aliases whose databases have the table, as this process has seen.
_have_table: set[str] = set()


def check_table(using: str) -> None:
    """Raise `ConfigurationError` where the database has no table, or no relay looks into it.

    It is asked once for each alias and process. A transaction that is to be rolled back takes no query, and won't
    insert anything.
    """
    if using in _have_table:
        return
    if not router.allow_migrate_model(using, OutboxMessage):
        raise ConfigurationError(
            f"A router of DATABASE_ROUTERS keeps the app {LABEL!r} out of database {using!r}, so no relay would send "
            f"what the outbox kept there of what is published with using={using!r}. Have its allow_migrate() return "
            f"True or None for it, or publish with another `using`."
        )
    if databases[using].needs_rollback:
        return
    if not has_table(using, TABLE):
        raise ConfigurationError(
            f"Database {using!r} has no table {OutboxMessage._meta.db_table!r}, in which the outbox keeps what is "
            f"published with using={using!r}. {how_to_make(LABEL, using)}"
        )
    _have_table.add(using)


def insert(database: BaseDatabaseWrapper, messages: Sequence[OutboxEntry], lease: float) -> None:
    """Insert a row for each message, in the transaction that is open; the relay leaves it for `lease` seconds."""
    if database.vendor not in _TIMES:
        rows = [row_of(call, entry) for call, entry in messages]
        for row in rows:
            row.next_try_at = Now() + timedelta(seconds=lease)
        OutboxMessage._base_manager.using(database.alias).bulk_create(rows, batch_size=_MOST)
        return
    head, row_sql = _insertion(database, lease)
    with database.cursor() as cursor:
        for piece in _insertable(messages, _most_rows(database)):
            values = [value for row in piece for value in row]
            cursor.execute(head + ", ".join([row_sql] * len(piece)), values)


def _insertable(messages: Sequence[OutboxEntry], most: int) -> Iterator[Sequence[tuple[str | int | None, ...]]]:
    """Yield the values of the rows, as many at a time as one statement takes."""
    piece: list[tuple[str | int | None, ...]] = []
    characters = 0
    for call, entry in messages:
        row = values_of(call, entry)
        length = len(str(row[_ENTRY]))
        if piece and (len(piece) == most or characters + length > _MOST_CHARACTERS):
            yield piece
            piece, characters = [], 0
        piece.append(row)
        characters += length
    if piece:
        yield piece


# By vendor and lease: making it takes as long as a third of an INSERT.
_insertions: Final[dict[tuple[str, float], tuple[str, str]]] = {}


def _insertion(database: BaseDatabaseWrapper, lease: float) -> tuple[str, str]:
    """Return an INSERT without its rows, and a row with its placeholders."""
    which = database.vendor, lease
    if which not in _insertions:
        names = ", ".join(_quoted(database, *COLUMNS, "next_try_at", "attempts", "error", "entry_id"))
        head = f"INSERT INTO {_table(database)} ({names}) VALUES "  # noqa: S608  names alone
        _insertions[which] = head, f"({'%s, ' * len(COLUMNS)}{_TIMES[database.vendor].format(lease)}, 0, '', '')"
    return _insertions[which]


def settle(database: BaseDatabaseWrapper, sent: Sequence[SentMessage]) -> None:
    """Delete the rows of what is on the server.

    Mark them as sent where OUTBOX_KEEP keeps them, and where too few replicas have their messages.
    """
    replicated = [each for each in sent if each.replicated]
    with database.cursor() as cursor:
        most = _most_rows(database)
        for piece in _pieces([each for each in replicated if each.config.outbox_keep is None], most):
            _delete(database, cursor, piece)
        for piece in _pieces([each for each in replicated if each.config.outbox_keep is not None], most):
            _mark(database, cursor, piece, "")
        for piece in _pieces([each for each in sent if not each.replicated], most):
            _mark(database, cursor, piece, ON_TOO_FEW)


def _delete(database: BaseDatabaseWrapper, cursor: Any, sent: Sequence[SentMessage]) -> None:
    quick, using = (_QUICK, " USING quick") if _may_be_quick(database) else ("", "")
    sql = f"{quick}DELETE FROM {_table(database)}{using} WHERE {_among(database, len(sent))}"  # noqa: S608  as above
    cursor.execute(sql, [each.message_id for each in sent])


def _mark(database: BaseDatabaseWrapper, cursor: Any, sent: Sequence[SentMessage], error: str) -> None:
    if database.vendor not in _TIMES:
        cases = [When(message_id=each.message_id, then=Value(each.entry_id)) for each in sent]
        rows = OutboxMessage._base_manager.using(database.alias).filter(
            message_id__in=[each.message_id for each in sent]
        )
        rows.update(sent_at=Now(), error=error, entry_id=Case(*cases))
        return
    message_id, sent_at, error_, entry_id = _quoted(database, "message_id", "sent_at", "error", "entry_id")
    entry_ids = f"CASE {message_id} {'WHEN %s THEN %s ' * len(sent)}END"
    changes = f"{sent_at} = {_TIMES[database.vendor].format(0)}, {error_} = %s, {entry_id} = {entry_ids}"
    values = [error, *(value for each in sent for value in (each.message_id, each.entry_id))]
    _update(database, cursor, changes, values, [each.message_id for each in sent])


def release(database: BaseDatabaseWrapper, message_ids: Sequence[str]) -> None:
    """End the lease of these messages' rows, so that the relay sends them at once."""
    with database.cursor() as cursor:
        for piece in _pieces(message_ids, _most_rows(database)):
            if database.vendor not in _TIMES:
                rows = OutboxMessage._base_manager.using(database.alias).filter(message_id__in=piece)
                rows.update(next_try_at=Now())
            else:
                (next_try_at,) = _quoted(database, "next_try_at")
                changes = f"{next_try_at} = {_TIMES[database.vendor].format(0)}"
                _update(database, cursor, changes, [], piece)


def _update(
    database: BaseDatabaseWrapper, cursor: Any, changes: str, values: Sequence[str], message_ids: Sequence[str]
) -> None:
    quick, using = (_QUICK, " FROM quick") if _may_be_quick(database) else ("", "")
    sql = f"{quick}UPDATE {_table(database)} SET {changes}{using} WHERE {_among(database, len(message_ids))}"  # noqa: S608
    cursor.execute(sql, [*values, *message_ids])


def _may_be_quick(database: BaseDatabaseWrapper) -> bool:
    """Return whether a statement is a transaction of its own, and needn't wait for the disk of PostgreSQL."""
    return database.vendor == "postgresql" and not database.in_atomic_block


def _among(database: BaseDatabaseWrapper, count: int) -> str:
    return f"{_quoted(database, 'message_id')[0]} IN ({', '.join(['%s'] * count)})"


def _table(database: BaseDatabaseWrapper) -> str:
    return database.ops.quote_name(OutboxMessage._meta.db_table)


def _quoted(database: BaseDatabaseWrapper, *columns: str) -> list[str]:
    return [database.ops.quote_name(each) for each in columns]


def _most_rows(database: BaseDatabaseWrapper) -> int:
    """Return how many rows a statement takes: SQLite before 3.32 has room for 999 values."""
    if database.vendor != "sqlite":
        return _MOST
    room: int = database.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    return min(_MOST, room // len(COLUMNS))


def _pieces(whole: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
