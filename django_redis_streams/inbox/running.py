"""Running a handler's function for messages that it hasn't had an effect of; and `claim`, for who does that by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.transaction import TransactionManagementError

from ..exceptions import ConfigurationError
from ..message import Message, asked_of, mark_repeated
from .presence import HOW_TO_INSTALL, is_installed
from .rows import forget, insert

__all__ = ["CLAIMED", "claim", "once"]

# (alias, stream, group) of what was claimed by hand in this process: its rows are to be deleted when they are old.
CLAIMED: Final[set[tuple[str, str, str]]] = set()


def claim(message: Message, *, using: str = DEFAULT_DB_ALIAS) -> bool:
    """Return True if this message hasn't had its effect in the database, and False if it has; for its group.

    Call it in `transaction.atomic(using)`, before anything else. It inserts a row that is committed, or rolled back,
    with all else that this transaction does. If another transaction has claimed the message and goes on, it waits for
    that one. `@handler(once=True)` does the same for you.

    In a coroutine, call it with the work in a function, by `sync_to_async`. Raises `ConfigurationError` where the app
    `django_redis_streams.inbox` isn't installed or its table is missing, `TransactionManagementError` outside of a
    transaction, and `ValueError` for a message that no handler got: it has no group.
    """
    if not is_installed():
        raise ConfigurationError(f"inbox.claim() needs a table: {HOW_TO_INSTALL}")
    if not message.group:
        raise ValueError(f"inbox.claim({message!r}): it has no group. Expected a message that a handler got.")
    if not connections[using].in_atomic_block:
        raise TransactionManagementError(
            f"inbox.claim() outside of a transaction of the database {using!r}: the row would be committed whatever "
            f"became of the work. Call it in transaction.atomic(using={using!r}), and do the work in there."
        )
    CLAIMED.add((using, message.stream, message.group))
    return bool(insert([message], using))


def once(function: Callable[[Any], Any], alias: str, *, batch: bool) -> Callable[[Any], Any]:
    """Have a function called only for what hasn't had its effect in that database; in a transaction of it.

    What has is marked, so that the worker acknowledges it and counts it as repeated. What the function marks to be run
    again, or rejects, hasn't had its effect: its row is deleted again.
    """

    @wraps(function)
    def call(argument: Any) -> Any:
        messages = argument if batch else [argument]
        new = _new(messages, alias)
        if not new:
            return None
        result = function(new if batch else argument)
        if again := [each for each in new if asked_of(each) is not None]:
            forget(again, alias)
        return result

    return call


def _new(messages: Sequence[Message], alias: str) -> list[Message]:
    """Return those that are to be run, and mark the others."""
    new = insert(messages, alias)
    if len(new) < len(messages):
        run = {id(each) for each in new}
        for message in messages:
            if id(message) not in run:
                mark_repeated(message)
    return new
