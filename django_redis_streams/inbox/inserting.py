"""The INSERTs of the inbox, which tell how many rows, or which, were there before.

One that meets a row that another transaction has inserted and not committed waits for that transaction. When it has
committed, the row is there; when it has rolled back, ours is the first. Django's `bulk_create` doesn't tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from django.db import IntegrityError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from django.db.models.constants import OnConflict

from .presence import LONGEST

if TYPE_CHECKING:
    from .models import InboxMessage

__all__ = ["Key", "Rows", "inserted", "model", "short"]

# 32 hexadecimal digits.
Key = str

_COLUMNS: Final = ("id", "stream", "group", "message_id")
# Rows of one statement; some databases take fewer values.
_AT_ONCE: Final = 1_000
_SAVEPOINT: Final = "redis_streams_inbox"
_RELEASE: Final = f"RELEASE SAVEPOINT {_SAVEPOINT}"
# What parts the ids in one text.
_LINE: Final = "\n"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one group: the ids of its messages, by key."""

    stream: str
    group: str
    ids: Mapping[Key, str]


def model() -> type[InboxMessage]:
    """Return the model, which can't be imported unless its app is installed."""
    from .models import InboxMessage  # noqa: PLC0415  as above

    return InboxMessage


def short(text: str) -> str:
    """Return what a column takes of a text: some databases take no NUL, and none a half of a surrogate pair."""
    if len(text) <= LONGEST and text.isascii() and "\0" not in text:
        return text
    return text[:LONGEST].replace("\0", "\ufffd").encode(errors="replace").decode()


def inserted(connection: BaseDatabaseWrapper, rows: Rows, keys: Sequence[Key]) -> Sequence[Key]:
    """Insert the rows of these keys that aren't there, and return their keys."""
    if len(keys) == 1:
        return keys if _insert(connection, rows, keys) else []
    if connection.vendor == "postgresql":
        return [key for part in _parts(connection, keys) for key in _inserted_of_many(connection, rows, part)]
    if connection.vendor == "mysql" and connection.features.can_return_rows_from_bulk_insert:
        return [key for part in _parts(connection, keys) for key in _inserted_in_mariadb(connection, rows, part)]
    # Mostly none is known; else those that are known are left out, and mostly no other comes meanwhile.
    if (found := _inserted_at_once(connection, rows, keys)) is None:
        known = set(_known(connection, keys))
        keys = [each for each in keys if each not in known]
        found = _inserted_at_once(connection, rows, keys)
    if found is None:
        found = [each for each in keys if _insert(connection, rows, [each])]
    return found


def _inserted_of_many(connection: BaseDatabaseWrapper, rows: Rows, keys: Sequence[Key]) -> Sequence[Key]:
    """Insert by two texts that PostgreSQL takes apart: so many values cost the worker several times as much.

    Mostly none is known. Then an INSERT that fails at a row that is there is a quarter faster than one that leaves it
    out. Its savepoint goes with it, so that it costs no turn of its own.
    """
    ids = _LINE.join([short(rows.ids[key]).replace(_LINE, "\ufffd") for key in keys])
    values = ",".join(keys), short(rows.stream), short(rows.group), ids, _LINE
    features: Any = connection.features
    with connection.cursor() as cursor:
        if not features.uses_server_side_binding:  # that takes no two statements at once
            try:
                cursor.execute(f"SAVEPOINT {_SAVEPOINT}; {_of_many(connection, None)}; {_RELEASE}", values)
            except IntegrityError:
                cursor.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}; {_RELEASE}")
            else:
                return keys
        cursor.execute(f"{_of_many(connection, OnConflict.IGNORE)} RETURNING id", values)
        return [each.hex for (each,) in cursor.fetchall()]


def _of_many(connection: BaseDatabaseWrapper, on_conflict: OnConflict | None) -> str:
    begin, end = _around(connection.alias, connection.vendor, on_conflict)
    return f"{begin} SELECT unnest(string_to_array(%s, ',')::uuid[]), %s, %s, unnest(string_to_array(%s, %s)) {end}"


def _inserted_in_mariadb(connection: BaseDatabaseWrapper, rows: Rows, keys: Sequence[Key]) -> Sequence[Key]:
    """Insert by one statement, as MariaDB says what it took; MySQL can't.

    A second statement after a savepoint would deadlock: what it rolls back stays locked, and others wait for it.
    """
    begin, end = _around(connection.alias, connection.vendor, OnConflict.IGNORE)
    with connection.cursor() as cursor:
        cursor.execute(f"{begin} VALUES {_places(keys)} {end} RETURNING id", _values(rows, keys))
        # A UUID has dashes where the database has a type for it.
        return [str(each).replace("-", "") for (each,) in cursor.fetchall()]


def _inserted_at_once(connection: BaseDatabaseWrapper, rows: Rows, keys: Sequence[Key]) -> Sequence[Key] | None:
    """Insert all of these and return them; or insert nothing, and return None, if one is there."""
    with transaction.atomic(using=connection.alias):
        if _insert(connection, rows, keys) == len(keys):
            return keys
        transaction.set_rollback(True, using=connection.alias)
        return None


def _insert(connection: BaseDatabaseWrapper, rows: Rows, keys: Sequence[Key]) -> int:
    """Insert what isn't there, and return how many that were."""
    if not connection.features.supports_ignore_conflicts:
        return sum(_insert_refused(connection, rows, each) for each in keys)
    return sum(_execute(connection, rows, part, OnConflict.IGNORE) for part in _parts(connection, keys))


def _insert_refused(connection: BaseDatabaseWrapper, rows: Rows, key: Key) -> bool:
    """Insert a row where the database can only refuse one that is there."""
    try:
        with transaction.atomic(using=connection.alias):
            _execute(connection, rows, [key], None)
    except IntegrityError:
        return False
    return True


def _execute(connection: BaseDatabaseWrapper, rows: Rows, keys: Sequence[Key], on_conflict: OnConflict | None) -> int:
    begin, end = _around(connection.alias, connection.vendor, on_conflict)
    with connection.cursor() as cursor:
        cursor.execute(f"{begin} VALUES {_places(keys)} {end}", _values(rows, keys))
        return int(cursor.rowcount)


def _places(keys: Sequence[Key]) -> str:
    return ", ".join(["(%s, %s, %s, %s)"] * len(keys))


def _values(rows: Rows, keys: Sequence[Key]) -> Sequence[str]:
    stream, group = short(rows.stream), short(rows.group)
    return [value for key in keys for value in (key, stream, group, short(rows.ids[key]))]


@lru_cache
def _around(alias: str, vendor: str, on_conflict: OnConflict | None) -> tuple[str, str]:
    """Return how an INSERT begins and ends; by the vendor too, as an alias may come to be another's in tests."""
    del vendor
    ops, table = connections[alias].ops, model()._meta.db_table
    columns = ", ".join(map(ops.quote_name, _COLUMNS))
    begin = f"{ops.insert_statement(on_conflict=on_conflict)} {ops.quote_name(table)} ({columns})"
    return begin, ops.on_conflict_suffix_sql([], on_conflict, [], [])


def _known(connection: BaseDatabaseWrapper, keys: Sequence[Key]) -> Iterator[Key]:
    rows: QuerySet[Any] = QuerySet(model(), using=connection.alias)
    for part in _parts(connection, keys):
        yield from (each.hex for each in rows.filter(pk__in=part).values_list("pk", flat=True))


def _parts(connection: BaseDatabaseWrapper, keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    most = connection.features.max_query_params
    step = min(_AT_ONCE, most // len(_COLUMNS)) if most else _AT_ONCE
    for begin in range(0, len(keys), step):
        yield keys[begin : begin + step]
