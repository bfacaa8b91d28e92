"""A handler that writes a row and reads it back, in a module that queries the database when it is imported."""

from django.db import connection

from django_redis_streams.handlers import handler
from django_redis_streams.message import Message

from .forking_handlers import fork


def one(query: str, *arguments: object) -> object:
    """Return the first value of a query's result."""
    with connection.cursor() as cursor:
        cursor.execute(query, arguments)
        return cursor.fetchone()[0]


one("SELECT count(*) FROM done")


@handler("orders", group="billing", type="row")
def run(message: Message) -> None:
    """Write the message's number and read it back: another number is an error."""
    own = message.payload["n"]
    written = one("INSERT INTO done VALUES (%s) RETURNING n", own)
    read = one("SELECT %s::text", own)
    if not own == written == read:
        raise AssertionError(f"wrote {own}, {written}; read {read}")


@handler("orders", group="billing", type="fork-and-ask", atomic=True)
def run_forked(message: Message) -> None:
    """Write in a transaction, fork, and have both processes write, each in its own session."""
    own, before = message.payload["n"], one("SELECT pg_backend_pid()")
    one("INSERT INTO done VALUES (%s) RETURNING n", f"{own} before")
    child = fork()
    if child == (one("SELECT pg_backend_pid()") == before):
        raise AssertionError(f"child: {child}, session of the parent: {before}")
    one("INSERT INTO done VALUES (%s) RETURNING n", f"{own} in the {'child' if child else 'parent'}")
