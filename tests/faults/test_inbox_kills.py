"""A worker is killed before and after each statement of a handler with `once`: each effect is there, and there once."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from django_redis_streams import inspection, publish_many
from django_redis_streams.inbox.models import InboxMessage

from ..support.books import totals
from ..support.postgresql import forget_connections
from ..support.waiting import wait_until
from ..support.workers import Fleet

Raw = Any

STREAMS = {"orders": {"GROUPS": {"single": {}, "batch": {}}}}
HANDLERS = "tests.faults.inbox_handlers"

SINGLE = ("inbox", "effect", "commit")
BATCH = ("savepoint", "inbox", "release", "effect", "commit")
STEPS = [
    f"{group} {when}:{statement}"
    for group, statements in (("single", SINGLE), ("batch", BATCH))
    for statement in statements
    for when in ("before", "after")
]
# Where one INSERT tells which rows are new, there is no savepoint, or it is in the same statement.
OF_ONE_INSERT = [step for step in STEPS if not step.endswith((":savepoint", ":release"))]
OFTEN = {("postgresql", "single after:commit"), ("postgresql", "batch after:inbox")}
STEPS_OF = {
    "postgresql": OF_ONE_INSERT,
    "sqlite": STEPS,
    "mariadb": ["single after:inbox", "single after:commit", "batch after:inbox", "batch after:commit"],
}
CASES = [
    pytest.param(database, step, marks=() if (database, step) in OFTEN else pytest.mark.slow)
    for database, steps in STEPS_OF.items()
    for step in steps
]


@pytest.fixture(params=["postgresql", pytest.param("sqlite", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, use_database: Callable[..., None], tmp_path: Path) -> dict[str, Any]:
    """Each of the two as the default database, with the inbox and a table for effects; its settings."""
    own: dict[str, Any] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "effects.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
    }
    if request.param != "sqlite":
        own = {**request.getfixturevalue(request.param).settings, "OPTIONS": {}}
    use_database(**own)
    with connection.schema_editor() as editor:
        editor.execute(f"DROP TABLE IF EXISTS {InboxMessage._meta.db_table}")
        editor.execute("DROP TABLE IF EXISTS effects")
        editor.create_model(InboxMessage)
        editor.execute("CREATE TABLE effects (name varchar(100))")
    forget_connections()
    return own


def effects() -> list[str]:
    """The effects that are committed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM effects ORDER BY name")
        return [name for (name,) in cursor.fetchall()]


def missing(group: str) -> int | None:
    """How many messages the books of a group have lost; None where the server doesn't tell."""
    return {each.group: each.missing for each in inspection.books("orders")}[group]


def deliver_twice(raw: Raw, count: int) -> None:
    """Publish so many messages, each as two entries of one id."""
    publish_many("orders", range(count), type="effect")
    pipeline = raw.pipeline()
    for _, fields in raw.xrange("orders"):
        pipeline.xadd("orders", fields)
    pipeline.execute()


@pytest.mark.parametrize(("database", "step"), CASES, indirect=["database"])
def test_a_worker_that_is_killed_at_any_statement_leaves_one_effect(
    raw: Raw, streams: Any, fleet: Fleet, database: dict[str, Any], step: str
) -> None:
    """Each message is delivered twice; what was committed is known, and what wasn't runs again."""
    group, _, where = step.partition(" ")
    streams(STREAMS)
    fleet.streams = STREAMS
    deliver_twice(raw, 3)
    killed = fleet.runs.with_name("killed")
    environment = {"TEST_HANDLERS": HANDLERS, "TEST_DATABASE": json.dumps(database), "TEST_DIE": f"{where}={killed}"}
    said = fleet.drain(f"orders:{group}", **environment)
    assert killed.exists(), f"nothing reached {step!r}: {said}"
    assert effects() == [f"{group} {n}" for n in range(3)]
    done = totals(raw, group)
    assert done.get("acknowledged", 0) + done["repeated"] == 6
    assert missing(group) in {0, None}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", ["single", "batch"])
def test_ten_thousand_messages_that_come_twice(
    raw: Raw, streams: Any, fleet: Fleet, database: dict[str, Any], group: str
) -> None:
    """Two workers of two processes each, one of which is killed now and then: each effect is there once."""
    count = 10_000
    streams(STREAMS)
    fleet.streams = STREAMS
    deliver_twice(raw, count)
    environment = {"TEST_HANDLERS": HANDLERS, "TEST_DATABASE": json.dumps(database)}
    workers = [fleet.start(f"orders:{group}", "--processes", "2", **environment) for _ in range(2)]

    def settled() -> int:
        done = totals(raw, group)
        return done.get("acknowledged", 0) + done.get("repeated", 0)

    wait_until(lambda: settled() > 100, deadline=120)
    for _ in range(5):
        children = fleet.children(random.choice(workers))
        if children:
            with suppress(ProcessLookupError):
                os.kill(random.choice(children), signal.SIGKILL)
        time.sleep(0.5)
    wait_until(lambda: settled() == 2 * count, deadline=240)
    assert effects() == sorted(f"{group} {n}" for n in range(count))
    assert InboxMessage.objects.count() == count
    assert missing(group) in {0, None}
