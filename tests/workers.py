"""Running a worker's parts in the test's own process, and whole workers beside it."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connections as databases

from django_redis_streams import conf, handlers
from django_redis_streams.store.membership import Membership
from django_redis_streams.worker.consumer import Consumer
from django_redis_streams.worker.executor import Executor
from django_redis_streams.worker.keeper import Keeper
from django_redis_streams.worker.maintenance import Maintenance
from django_redis_streams.worker.promoter import Promoter

ROOT = Path(__file__).parent.parent


class Worker:
    """One consumer with a keeper, maintenance and a promoter, in threads of this process."""

    def __init__(self, stream: str = "orders", group: str = "billing", name: str = "tested", **options: Any) -> None:
        self.stop = threading.Event()
        place = Membership(conf.stream(stream), conf.group(stream, group), name)
        executor = Executor(handlers.of(stream, group), place.group)
        self.consumer = Consumer(place, executor, stop=self.stop, **options)
        self.services_stop = threading.Event()
        alias = place.stream.connection
        self.services = [
            Keeper(alias, self.services_stop, [self.consumer]),
            Maintenance(alias, self.services_stop, [self.consumer], [place.stream]),
            Promoter(alias, self.services_stop, [place.stream]),
        ]
        self.error: BaseException | None = None
        self.threads: list[threading.Thread] = []

    def start(self) -> "Worker":
        """Start all threads."""
        for run in (self._consume, *(each.run for each in self.services)):
            thread = threading.Thread(target=self._guarded(run), daemon=True)
            thread.start()
            self.threads.append(thread)
        return self

    def _consume(self) -> None:
        try:
            self.consumer.run()
        finally:
            databases.close_all()

    def _guarded(self, run: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                run()
            except BaseException as error:
                self.error = error

        return guarded

    def join(self, deadline: float = 20) -> None:
        """Wait until the consumer has ended by itself, then end the rest."""
        self.threads[0].join(deadline)
        assert not self.threads[0].is_alive(), "the consumer didn't end"
        self.services_stop.set()
        for thread in self.threads:
            thread.join(deadline)
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        """Stop it cleanly."""
        self.stop.set()
        self.join()


@contextmanager
def working(*args: Any, **options: Any) -> Iterator[Worker]:
    """A worker that runs meanwhile, and is stopped cleanly."""
    worker = Worker(*args, **options).start()
    try:
        yield worker
    finally:
        worker.end()


def drain(*args: Any, **options: Any) -> None:
    """Run a worker until its group has nothing left to do now."""
    Worker(*args, drain=True, **options).start().join()


@contextmanager
def run_consumers(
    *arguments: str, environment: dict[str, str] | None = None, settings: str = "tests.settings"
) -> Iterator[subprocess.Popen[str]]:
    """`manage.py runconsumers` as a process of its own; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "runconsumers", *arguments],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": settings, "PYTHONPATH": str(ROOT), **(environment or {})},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
