"""The machine: its cores, which process is pinned to which core, and how much processes used."""

import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Foreign", "cpu_seconds", "described", "family", "pin", "server_core", "threads", "worker_core"]

_CORES = sorted(os.sched_getaffinity(0))
_TICKS = os.sysconf("SC_CLK_TCK")


def server_core() -> set[int]:
    """Return the core of the server and of the process that publishes or measures."""
    return {_CORES[0]}


def worker_core() -> set[int]:
    """Return the core of the measured process: another than the server's, unless there is only one core."""
    return {_CORES[-1]}


def pin(pid: int, cores: set[int] | None) -> None:
    """Bind a process with all its threads to some cores; None frees it."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores or set(_CORES))


def described() -> dict[str, object]:
    """Return a description of the machine for the report."""
    cpu = [line.partition(":")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "processor": " ".join((cpu or [platform.machine()])[0].split()),
        "cores": len(_CORES),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


class Foreign:
    """Watches how much other processes use, as a share of one core."""

    def __init__(self, server: int) -> None:
        self._server = server
        self.most = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch within it. Child processes count as ours once they have ended."""
        began, before = time.monotonic(), self._used()
        yield
        self.most = max(self.most, (self._used() - before) / (time.monotonic() - began))

    def _used(self) -> float:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime + cpu_seconds(self._server)
        return _of_machine() - ours


def _of_machine() -> float:
    # user nice system idle iowait irq softirq steal (https://man7.org/linux/man-pages/man5/proc_stat.5.html)
    fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS


def cpu_seconds(pid: int) -> float:
    """Return how many seconds of a core a process has used since it began, all its threads together."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it, by their ids."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [pid, *(each for child in children for each in family(child))]
