"""The processes of both sides: workers (`manage.py runconsumers`, or a bare loop) and publishers."""

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
    """A worker: the group that it reads as, and the arguments of each of its Python processes."""

    ours: bool
    group: str
    commands: tuple[tuple[str, ...], ...]


def ours(group: str, *options: str) -> Worker:
    """Return a worker of this package, as a user starts it, for a group with one handler."""
    return Worker(True, group, (("-m", "django", "runconsumers", f"orders:{group}", *options),))


def bare(loop: str, processes: int = 1) -> Worker:
    """Return a worker of so many processes that run a bare loop."""
    return Worker(False, "bare", (("-m", "tests.benchmarks.bare", loop),) * processes)


class Process:
    """One Python process, bound to `cores` or free; it inherits the file that handlers write to."""

    def __init__(self, arguments: Sequence[str], url: str, cores: set[int] | None, tally: int | None = None) -> None:
        self._arguments = " ".join(arguments)
        # Files, since nobody reads a pipe while the process runs.
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
        # At once, before Python has read its first line, and so before there is a thread or a child.
        pin(self._process.pid, cores)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()
        self._errors.close()

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    def check(self) -> None:
        """Raise `CannotMeasure` if it has ended."""
        if self._process.poll() is not None:
            raise self._failed(f"ended with exit code {self._process.returncode}")

    def memory(self) -> int:
        """Return how many KB this process and its children have in memory; a page that n processes share counts 1/n."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return sum(_memory(pid) for pid in [str(self._process.pid), *children])

    def stop(self) -> int:
        """Send a SIGTERM; return the exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            raise self._failed(f"didn't stop within {_STOPS_WITHIN:.0f} s") from None

    def printed(self) -> str:
        """Wait for its end and return what it printed. Raises `CannotMeasure` if it fails."""
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


def _memory(pid: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
