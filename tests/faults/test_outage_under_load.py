"""The server is away for half a minute while requests publish: none fails, and all that was saved has its effect."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.db import connection

from django_redis_streams import inspection
from django_redis_streams.inbox.models import InboxMessage
from django_redis_streams.outbox.models import OutboxMessage

from ..support.books import books
from ..support.postgresql import Postgresql, forget_connections
from ..support.servers import Server
from ..support.waiting import wait_until
from ..support.workers import ROOT, Fleet
from . import load_handlers, load_publisher
from .load_publisher import KINDS

pytestmark = pytest.mark.slow

STREAMS = {
    "orders": {"OUTBOX": "always", "GROUPS": {"billing": {}}},
    "views": {"OUTBOX": "fallback", "GROUPS": {"counting": {}}},
}
NAMES = ("a", "b")
GROUPS = {"orders": "billing", "views": "counting"}
AWAY = 30.0
# In seconds, what a request may wait for the server: a reply that doesn't come; or connecting, tried four times. The
# rest is the machine's, which has two cores for all of this.
HANGING, STOPPED, SLACK = 5.0, 0.4, 2.0


@pytest.fixture
def own_server(make_server: Callable[..., Server], streams: Callable[..., None]) -> Server:
    """A server for this test alone, with the streams."""
    server = make_server()
    streams(STREAMS, URL=server.url)
    return server


@pytest.fixture
def environment(
    postgresql: Postgresql, use_database: Callable[..., None], own_server: Server, tmp_path: Path
) -> dict[str, str]:
    """What processes need to find the server and PostgreSQL, which has the tables."""
    own: dict[str, Any] = {**postgresql.settings, "CONN_MAX_AGE": None, "OPTIONS": {}}
    use_database(**own)
    with connection.schema_editor() as editor:
        editor.create_model(OutboxMessage)
        editor.create_model(InboxMessage)
        for table in ("saved", "effects"):
            editor.execute(f"CREATE TABLE {table} (name varchar(100))")
    forget_connections()
    return {"TEST_DATABASE": json.dumps(own), "TEST_HANDLERS": load_handlers.__name__}


@pytest.fixture
def workers(own_server: Server, environment: dict[str, str], tmp_path: Path) -> Iterator[Fleet]:
    """Two workers."""
    fleet = Fleet(tmp_path, own_server.url, STREAMS)
    for _ in range(2):
        fleet.start(**environment)
    yield fleet
    fleet.end()


@contextmanager
def publishers(server: Server, environment: dict[str, str]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Two processes that publish within it; yields what ends them and returns what they tell."""
    known = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.support.worker_settings",
        "TEST_REDIS_URL": server.url,
        "TEST_STREAMS": json.dumps(STREAMS),
        **environment,
    }
    with ExitStack() as stack:
        started = []
        for name in NAMES:
            process = subprocess.Popen(
                [sys.executable, "-m", load_publisher.__name__, name],
                env=known, cwd=ROOT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            started.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield lambda: [json.loads(each.communicate(timeout=30)[0]) for each in started]


def saved() -> Counter[str]:
    """How often each name was saved."""
    return _names("SELECT name FROM saved")


def effects() -> Counter[str]:
    """How often each name had its effect."""
    return _names("SELECT name FROM effects")


def _names(query: str) -> Counter[str]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return Counter(name for (name,) in cursor.fetchall())


def by_kind(names: Counter[str]) -> Counter[str]:
    """How many names there are of each kind of request."""
    return Counter(name.partition(" ")[0] for name in names.elements())


class Outage(NamedTuple):
    """How a server is made to be away and comes back, and how many seconds a request may take meanwhile."""

    begin: Callable[[Server], None]
    end: Callable[[Server], None]
    most: float


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "outage",
    [
        pytest.param(Outage(Server.kill9, Server.start, STOPPED + SLACK), id="stopped"),
        pytest.param(Outage(Server.pause, Server.cont, HANGING + SLACK), id="hanging"),
    ],
)
def test_no_request_fails_and_all_arrives(
    own_server: Server, environment: dict[str, str], workers: Fleet, outage: Outage
) -> None:
    """Requests go on and wait no longer than promised. Each row that was saved has its effect once; books balance."""
    with publishers(own_server, environment) as end:
        wait_until(lambda: all(effects()[f"{kind} {name} 0 50"] for kind in KINDS for name in NAMES))
        outage.begin(own_server)
        before = by_kind(saved())
        time.sleep(AWAY)  # this is the fault
        during = by_kind(saved()) - before
        outage.end(own_server)
        wait_until(lambda: not OutboxMessage.objects.exists(), "an empty outbox, though requests go on")
        told = end()
    assert [each["errors"] for each in told] == [[], []]
    longest = {kind: max(each["longest"][kind] for each in told) for kind in KINDS}
    assert max(longest.values()) < outage.most, longest
    assert all(during[kind] > AWAY for kind in KINDS), during
    everything = saved()
    wait_until(lambda: effects() == everything)
    wait_until(lambda: not OutboxMessage.objects.exists())
    for stream, group in GROUPS.items():
        check_books(own_server, stream, group)


def check_books(server: Server, stream: str, group: str) -> None:
    """Wait until all that is on a stream is settled, and see that nothing is missing."""
    raw = server.raw()
    wait_until(lambda: (done := books(raw, group, stream)).acknowledged + done.repeated == raw.xlen(stream), group)
    assert books(raw, group, stream).all == raw.xlen(stream)
    (balance,) = inspection.books(stream)
    assert balance.missing in {0, None}
