"""Handlers with `once`, each effect a row that nothing keeps from being there twice; and a process that dies in them.

`TEST_DIE` is `when:statement=path`: the first process that comes there makes the file and dies. Statements are named in
`STATEMENTS`; `commit` is the transaction's end.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from django_redis_streams import Message, handler

from ..support.obedient_handlers import die, once

# What each holds.
STATEMENTS = {
    "savepoint": "SAVEPOINT ",  # of RELEASE SAVEPOINT too, which comes later
    "inbox": "_inboxmessage",
    "release": "RELEASE ",
    "effect": "INTO effects",
}


@handler("orders", group="single", type="effect", once=True)
def have_effect(message: Message) -> None:
    """Have the effect of a message."""
    have_effects([message])


@handler("orders", group="batch", type="effect", batch=True, once=True)
def have_effects(messages: Sequence[Message]) -> None:
    """Have those of some."""
    names = [f"{each.group} {each.payload}" for each in messages]
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO effects VALUES (%s)", [(each,) for each in names])


def die_at(when: str, statement: str, path: str) -> None:
    """Make the first process that comes to this statement die there."""

    def around(work: Callable[[], Any], *, here: bool) -> Any:
        if here and when == "before" and once(path):
            die()
        result = work()
        if here and when == "after" and once(path):
            die()
        return result

    inserted: list[bool] = []

    def execute(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if STATEMENTS["inbox"] in sql:
            inserted.append(True)
        here = statement != "commit" and STATEMENTS[statement] in sql and "ROLLBACK" not in sql
        return around(lambda: execute(sql, params, many, context), here=here)

    def opened(connection: BaseDatabaseWrapper, **_: Any) -> None:
        connection.execute_wrappers.append(execute)

    connection_created.connect(opened, weak=False)
    commit = BaseDatabaseWrapper.commit

    def patched(self: BaseDatabaseWrapper) -> None:
        # Django's checks commit too, in the supervisor.
        around(lambda: commit(self), here=statement == "commit" and bool(inserted))

    BaseDatabaseWrapper.commit = patched  # type: ignore[method-assign]


if "TEST_DIE" in os.environ:
    step, _, where = os.environ["TEST_DIE"].partition("=")
    die_at(*step.split(":"), where)
