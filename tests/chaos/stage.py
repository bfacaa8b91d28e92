"""The stage of trials: a server and a database, and the processes that publish and work."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import django

from tests.support.postgresql import Postgresql, programs
from tests.support.sentinels import SentinelSet
from tests.support.servers import Server
from tests.support.warm import WarmPopen
from tests.support.workers import ROOT

from .proxy import FaultyProxy
from .streams import GROUPS

SETTINGS = "tests.chaos.settings"
WORKERS, PROCESSES, PUBLISHERS = 2, 2, 2


class Stage:
    """Serves one trial after another; each begins with an empty server and database."""

    def __init__(self) -> None:
        self._alone = Server()
        self.proxy = FaultyProxy(self._alone)
        # Made for the first trial that wants it.
        self._sentinels: SentinelSet | None = None
        self._by_sentinels = False
        found = programs()
        assert found is not None, "the database of make chaos is PostgreSQL: apt-get install postgresql"
        self.postgresql = Postgresql(found)
        self.directory = Path(tempfile.mkdtemp(prefix="streams-chaos-"))
        self.workers: list[subprocess.Popen[str]] = []
        self.publishers: list[subprocess.Popen[str]] = []
        self._seed, self._mutant = "", ""
        self.url = self._alone.url
        self._started = 0
        self._set_up()

    def _set_up(self) -> None:
        os.environ.update(
            DJANGO_SETTINGS_MODULE=SETTINGS,
            CHAOS_DATABASE=json.dumps(self.postgresql.settings),
            CHAOS_URL=self.url,
        )
        django.setup()
        from django.core.management import call_command  # noqa: PLC0415  needs settings
        from django.db import connections  # noqa: PLC0415  as above

        call_command("migrate", run_syncdb=True, verbosity=0)
        connections.close_all()

    @property
    def sentinels(self) -> SentinelSet:
        """The sentinels, with a master and a replica."""
        if self._sentinels is None:
            self._sentinels = SentinelSet()
        return self._sentinels

    @property
    def server(self) -> Server:
        """The server, or the master that the sentinels name now."""
        return self.sentinels.master if self._by_sentinels else self._alone

    def begin(self, seed: str, *, through_proxy: bool, by_sentinels: bool, mutant: str = "") -> None:
        """Empty everything, and start workers and publishers."""
        self._seed, self._mutant, self._by_sentinels = seed, mutant, by_sentinels
        if by_sentinels:
            self.url = self.sentinels.url()
        else:
            self.url = self.proxy.url if through_proxy else self._alone.url
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        self.server.raw().flushall()
        self.postgresql.ask(
            "TRUNCATE chaos_sale, chaos_effect, django_redis_streams_inbox_inboxmessage, "
            "django_redis_streams_outbox_outboxmessage"
        )
        for _ in range(WORKERS):
            self.start_worker()
        for _ in range(PUBLISHERS):
            self.start_publisher()

    def start_worker(self) -> None:
        """Start a worker: a supervisor, with its processes."""
        arguments = ("runconsumers", "--processes", str(PROCESSES), "--shutdown-timeout", "10")
        self.workers.append(self._start(*arguments, CHAOS_MUTANT=self._mutant))

    def start_publisher(self) -> None:
        """Start a publisher, under a new name."""
        self._started += 1
        self.publishers.append(self._start("chaospublish", f"p{self._started}"))

    def _start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        own = {"CHAOS_URL": self.url, "CHAOS_DIRECTORY": str(self.directory), "CHAOS_SEED": self._seed}
        if self._by_sentinels:
            own["CHAOS_MIN_REPLICAS"] = "1"
        with (self.directory / "log").open("ab") as log:
            return WarmPopen(
                arguments,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **own, **environment},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def children(self, process: subprocess.Popen[str]) -> list[int]:
        """Return the process ids of a worker's processes."""
        path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        with suppress(OSError):
            return [int(each) for each in path.read_text().split()]
        return []

    def end(self, processes: list[subprocess.Popen[str]], deadline: float = 20) -> None:
        """End processes cleanly; one that doesn't end is killed, and fails the trial."""
        for each in processes:
            each.terminate()
        try:
            for each in processes:
                each.wait(deadline)
        finally:
            self.kill(processes)
            processes.clear()

    def kill(self, processes: list[subprocess.Popen[str]]) -> None:
        """Kill processes, with all that they have started."""
        for each in processes:
            with suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)
            each.wait()

    def waiting(self) -> dict[str, int]:
        """Return how much waits where, without zeros: asked of the server and the database themselves."""
        raw: Any = self.server.raw()
        (rows,) = self.postgresql.ask("SELECT count(*) FROM django_redis_streams_outbox_outboxmessage")
        found = {"outbox": rows}
        for stream, groups in GROUPS.items():
            found[f"{stream} delayed"] = raw.zcard(f"{{{stream}}}:delayed")
            known = {each["name"]: each for each in raw.xinfo_groups(stream)} if raw.exists(stream) else {}
            for group in groups:
                row = known.get(group)
                found[f"{stream}:{group} unread"] = raw.xlen(stream) if row is None else row["lag"]
                found[f"{stream}:{group} pending"] = 0 if row is None else row["pending"]
                found[f"{stream}:{group} redelivered"] = raw.xlen(f"{{{stream}}}:redelivery:{group}")
                found[f"{stream}:{group} retrying"] = raw.zcard(f"{{{stream}}}:retry:{group}")
        return {name: count for name, count in found.items() if count != 0}

    def log(self) -> str:
        """Return what the processes of this trial have said."""
        return (self.directory / "log").read_text(errors="replace")

    def stop(self) -> None:
        """End everything."""
        self.kill([*self.workers, *self.publishers])
        self.proxy.stop()
        self._alone.stop()
        if self._sentinels is not None:
            self._sentinels.stop()
        self.postgresql.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
