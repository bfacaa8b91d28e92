"""The demo's workers: `manage.py runconsumers` with two processes, one of which is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from django.core.management import CommandError

from . import deliveries

MANAGE = Path(__file__).parent.parent.parent / "manage.py"
STOP_TIMEOUT = 30


class Workers:
    """Runs `runconsumers --processes 2` within the `with` block.

    Their log goes to `workers.log` in `directory`, a line for each delivery to `deliveries.log`.
    """

    def __init__(self, directory: Path) -> None:
        self.deliveries = directory / "deliveries.log"
        self.deliveries.touch()
        self.log = directory / "workers.log"

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self._supervisor = subprocess.Popen(  # noqa: S603  this project's own command
                [sys.executable, MANAGE, "runconsumers", "--processes", "2"],
                env={**os.environ, "DELIVERY_LOG": str(self.deliveries)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._supervisor.terminate()
        try:
            self._supervisor.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()

    def kill_one(self) -> int:
        """Kill by SIGKILL the worker that got the last delivery; return its process id."""
        victim = deliveries.read(self.deliveries)[-1].process
        os.kill(victim, signal.SIGKILL)
        return victim

    def check(self) -> None:
        """Raise `CommandError` if the supervisor doesn't run any more."""
        code = self._supervisor.poll()
        if code is not None:
            raise CommandError(f"runconsumers ended by itself, exit code {code}. Its log says why: {self.log}")
