"""Processes of the sides: what drains (`manage.py runconsumers`, or a bare loop) and what publishes."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .figures import CannotMeasure
from .machine import pin

__all__ = ["Process", "Worker", "bare", "ours"]

_ROOT = Path(__file__).parent.parent.parent
_ENDS_WITHIN = 90.0
_STOPS_WITHIN = 20.0


@dataclass(frozen=True)
class Worker:
    """What drains the stream: the group it reads as, and what each of its processes gives to Python."""

    ours: bool
    group: str
    commands: tuple[tuple[str, ...], ...]


def ours(group: str, *options: str) -> Worker:
    """A worker of this package, as a user starts it, for a group with one handler."""
    return Worker(True, group, (("-m", "django", "runconsumers", f"orders:{group}", *options),))


def bare(loop: str, processes: int = 1) -> Worker:
    """So many processes of a bare loop."""
    return Worker(False, "bare", (("-m", "tests.benchmarks.bare", loop),) * processes)


class Process:
    """One Python process, bound to `cores` or to none; it inherits the file that handlers write to."""

    def __init__(self, arguments: Sequence[str], url: str, cores: set[int] | None, tally: int | None = None) -> None:
        self._arguments = " ".join(arguments)
        # Files: nobody reads a pipe while it runs.
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in __exit__
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  as above
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env={
                **os.environ,
                "BENCH_URL": url,
                "BENCH_TALLY": str(-1 if tally is None else tally),
                "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings",
            },
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            pass_fds=[] if tally is None else [tally],
        )
        # Before Python has read its first line, and so before there is a thread or a child.
        pin(self._process.pid, cores)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()
        self._errors.close()

    def check(self) -> None:
        """Raises `CannotMeasure` where it has ended."""
        if self._process.poll() is not None:
            raise self._failed(f"ended with exit code {self._process.returncode}")

    def stop(self) -> int:
        """Its exit code after a SIGTERM."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            raise self._failed(f"didn't stop within {_STOPS_WITHIN:.0f} s") from None

    def printed(self) -> str:
        """What it has printed when it has ended by itself. Raises `CannotMeasure` where it ends otherwise."""
        try:
            code = self._process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            raise self._failed(f"didn't end within {_ENDS_WITHIN:.0f} s") from None
        if code:
            raise self._failed(f"ended with exit code {code}")
        self._output.seek(0)
        return self._output.read()

    def _failed(self, how: str) -> CannotMeasure:
        self._errors.seek(0)
        said = self._errors.read()[-2000:].strip()
        last_words = f", and said:\n{said}" if said else ""
        return CannotMeasure(f"`python {self._arguments}` {how}{last_words}")
