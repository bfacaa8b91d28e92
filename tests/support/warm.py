"""Commands of Django as processes that are forked, not begun: what they import is imported once, which takes longest.

A process of this module's, one for each process of tests, imports it without any settings, and forks at each request.
The fork gets the environment and the files that `subprocess` would have given it, and does what
`python -m django` does. It is a child of the test's process, as if that had started it.
"""

import atexit
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
# What a worker imports; it must not depend on settings, which are the fork's own.
IMPORTED = (
    "django.contrib.admin.options",
    "django.contrib.auth.hashers",
    "django.core.management",
    "django.db.backends.sqlite3.base",
    "django_redis_streams.checks",
    "django_redis_streams.inspection",
    "django_redis_streams.management.commands.runconsumers",
    "django_redis_streams.model_events",
    "django_redis_streams.operations.waiting",
    "django_redis_streams.worker.process",
    "django_redis_streams.worker.supervisor.supervisor",
)
# What these say must be known before anything is imported: an interpreter heeds them when it begins; and other settings
# than those of all workers show what is imported, or change it.
AT_THE_BEGINNING = ("DJANGO_SETTINGS_MODULE", "LANG", "LC_", "LD_", "PYTHON")

_lock = threading.Lock()


def can_fork(more: Iterable[str]) -> bool:
    """Return whether a process with these further variables in its environment can be forked."""
    return sys.platform == "linux" and not any(name.startswith(AT_THE_BEGINNING) for name in more)


class WarmPopen(subprocess.Popen[str]):
    """A `Popen` of `python -m django …` in a session of its own; its arguments are those of the command."""

    def _execute_child(self, *given: Any) -> None:
        # By position, as the class hands them over; the same ones in Python 3.11 to 3.14.
        arguments, environment, pipes = given[0], given[6], given[10:16]
        stdin, _, _, stdout, _, stderr = pipes
        files = [here if other == -1 else other for here, other in enumerate((stdin, stdout, stderr))]
        request = json.dumps([arguments, environment]).encode()
        with _lock:
            forker = _forker()
            _adopt(orphans=True)
            try:
                socket.send_fds(forker, [request], files)
                answer = forker.recv(100)
            finally:
                _adopt(orphans=False)
        assert answer, "The process that forks has ended; what it wrote to the standard error says why."
        self.pid = int(answer)
        self._child_created = True
        self._close_pipe_fds(*pipes)


@cache
def _forker() -> socket.socket:
    """Start the process that forks; it ends when the test's process does."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(there.fileno())],
            env={
                **{name: text for name, text in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
            },
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[there.fileno()],
            start_new_session=True,
        )
    atexit.register(process.wait)
    atexit.register(here.close)
    return here


def _adopt(*, orphans: bool) -> None:
    """Be the parent of processes whose own has ended, or be it no more."""
    set_child_subreaper = 36
    assert ctypes.CDLL(None).prctl(set_child_subreaper, int(orphans), 0, 0, 0) == 0


def main() -> None:
    """Fork at each request. Returns in each fork, which then is to run `django`; ends with the tests."""
    for each in IMPORTED:
        import_module(each)
    requests = socket.socket(fileno=int(sys.argv[1]))
    while True:
        request, files, *_ = socket.recv_fds(requests, 1 << 20, 3)
        if not request:
            sys.exit()
        # Of two generations the first ends at once, so that the second is adopted.
        if not (first := os.fork()):
            first = os.getpid()
            if os.fork():
                os._exit(0)
            _become(files, *json.loads(request))
            while os.getppid() == first:
                os.sched_yield()
            requests.send(str(os.getpid()).encode())
            requests.close()
            return
        os.waitpid(first, 0)
        for each in files:
            os.close(each)


def _become(files: list[int], arguments: list[str], environment: dict[str, str]) -> None:
    """Make this process what was asked for."""
    os.setsid()
    for number, each in enumerate(files):
        os.dup2(each, number)
        os.close(each)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments


if __name__ == "__main__":
    import runpy

    main()
    runpy.run_module("django", run_name="__main__", alter_sys=True)
