"""What a project has opened before its worker forks: no two processes share it, and what can't be closed is told."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from .support.books import totals
from .support.postgresql import Postgresql
from .support.waiting import wait_until
from .support.workers import ROOT, Fleet

Raw = Any


@pytest.fixture
def done(postgresql: Postgresql) -> Postgresql:
    """A PostgreSQL server with the table `done`, empty."""
    postgresql.ask("DROP TABLE IF EXISTS done")
    postgresql.ask("CREATE TABLE done (n text)")
    return postgresql


@pytest.mark.parametrize("pool", [True, pytest.param({"min_size": 1, "max_size": 2}, marks=pytest.mark.slow)])
def test_processes_share_no_pool_of_a_database(raw: Raw, fleet: Fleet, done: Postgresql, pool: Any) -> None:
    """A pool that was made when a module was imported is closed before: each message reads what it wrote itself."""
    fleet.streams = {"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 0}}}}
    pipeline = raw.pipeline()
    for n in range(1_000):
        pipeline.xadd("orders", {"type": "row", "n": n})
    pipeline.execute()
    database = {**done.settings, "OPTIONS": {"pool": pool}}
    said = fleet.drain(
        "--processes",
        "4",
        deadline=50,
        TEST_HANDLERS="tests.support.pooled_handlers",
        TEST_DATABASE=json.dumps(database),
    )
    assert totals(raw) == {"acknowledged": 1_000}
    assert done.ask("SELECT count(DISTINCT n), count(*) FROM done") == (1_000, 1_000)
    assert "before the worker forks" not in said
    wait_until(lambda: done.sessions() == 0, "all of them are closed with the worker")


@pytest.mark.parametrize("options", [{}, {"pool": True}], ids=["kept", "pool"])
def test_a_process_that_a_handler_forks_has_its_own_connections(
    raw: Raw, fleet: Fleet, done: Postgresql, options: Any
) -> None:
    """Also where it is forked in a transaction: that stays the parent's; what the child writes is committed at once."""
    for n in range(3):
        raw.xadd("orders", {"type": "fork-and-ask", "n": n})
    database = {**done.settings, "OPTIONS": options, "CONN_MAX_AGE": 0 if options else None}
    fleet.drain(TEST_HANDLERS="tests.support.pooled_handlers", TEST_DATABASE=json.dumps(database))
    assert totals(raw) == {"acknowledged": 3}
    assert [words[0] for words in fleet.noted("forked")] == ["0"] * 3
    assert done.ask("SELECT count(DISTINCT n), count(*) FROM done") == (9, 9)


# ---------------------------------------------------------------- what is closed, and what is told


@pytest.fixture
def elsewhere() -> Iterator[socket.socket]:
    """A server that somebody has a connection to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


# A process that opens something, and then does what a supervisor does before it forks.
OPENING = """
import os, socket, sys, threading, time
import django
from django.conf import settings
url, program = sys.argv[1:]
cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
settings.configure(CACHES={"default": cache}, REDIS_STREAMS={"CONNECTIONS": {"default": {"URL": url}}, "STREAMS": {}})
django.setup()
exec(program)
from django_redis_streams.worker.supervisor.before_forking import close_what_is_open, warn_of_what_stays_open
close_what_is_open()
warn_of_what_stays_open()
sys.stderr.flush()
os._exit(0)
"""


def told(server: Any, program: str, **options: Any) -> str:
    """What is told where this was done before."""
    options = {"stderr": subprocess.PIPE, **options}
    command = [sys.executable, "-c", OPENING, server.url, program]
    return subprocess.run(command, cwd=ROOT, check=True, timeout=30, text=True, **options).stderr


def test_a_thread_and_a_connection_are_told_of_by_their_names(server: Any, elsewhere: socket.socket) -> None:
    """One warning, which says what to do."""
    host, port = elsewhere.getsockname()
    said = told(
        server,
        f"""
threading.Thread(target=time.sleep, args=[600], daemon=True, name="broker").start()
client = socket.create_connection({(host, port)})
""",
    )
    assert said.count("before the worker forks") == 1
    assert f"threads ('broker') and connections (to {host}:{port})" in said
    assert "os.register_at_fork" in said


def test_a_connection_to_a_unix_socket_is_told_of_by_its_path(server: Any, tmp_path: Path) -> None:
    """As a database or a broker on the same machine has it."""
    path = str(tmp_path / "there")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        said = told(server, f"client = socket.socket(socket.AF_UNIX); client.connect({path!r})")
    assert f"connections (to {path})" in said
    assert "threads (" not in said


def all_of(programs: Mapping[str, str]) -> str:
    """A program that does what each of these does, and keeps what each has made: many processes would take longer."""
    made = [f"made[{name!r}] = {{**globals()}}; exec({each!r}, made[{name!r}])" for name, each in programs.items()]
    return "\n".join(["made = {}", *made])


CONNECTED = {
    "a cache": "from django.core.cache import cache; cache.get('a')",
    "a pool of redis-py": "import redis; client = redis.Redis.from_url(url); client.ping()",
    "a link of ours": "from django_redis_streams import connections; connections.get().call('PING')",
}


def test_an_idle_connection_to_redis_is_closed(server: Any) -> None:
    """Nothing is told of it: who needs one again, in whatever process, opens it."""
    assert told(server, all_of(CONNECTED)) == ""


NO_ALARM = {
    "a pair of sockets and a pipe": "kept = socket.socketpair(), os.pipe()",
    "a socket that listens": "kept = socket.create_server(('127.0.0.1', 0))",
    "a datagram's way": "kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); kept.connect(('127.0.0.1', 8125))",
    "a lazy object": "from django.utils.functional import SimpleLazyObject; kept = SimpleLazyObject(lambda: 1 / 0)",
    "an event loop": "import asyncio; kept = asyncio.new_event_loop()",
    "a thread that notices a fork": """
threading.Thread(target=time.sleep, args=[600], daemon=True, name="OtelBatchSpanRecordProcessor").start()""",
}


def test_what_may_be_there_is_no_reason_for_a_warning(server: Any) -> None:
    """What a fork does no harm to, or who looks after himself."""
    assert told(server, all_of(NO_ALARM)) == ""


def test_a_socket_that_the_process_was_given_is_no_reason_for_a_warning(
    server: Any, elsewhere: socket.socket, tmp_path: Path
) -> None:
    """As its output, where systemd gives the journal's, or beside it."""
    with socket.create_connection(elsewhere.getsockname()) as given, (tmp_path / "said").open("w+") as said:
        told(server, "", stdin=given, stdout=given, pass_fds=[given.fileno()], stderr=said)
        said.seek(0)
        assert said.read() == ""


def test_a_worker_tells_it_before_it_forks(fleet: Fleet) -> None:
    """Once, however many processes it has."""
    said = fleet.drain("--processes", "2", TEST_HANDLERS="tests.support.threaded_handlers")
    assert said.count("The project has opened threads ('never ends') before the worker forks its processes.") == 1
