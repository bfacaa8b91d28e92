"""The process that answers HTTP for a worker; the supervisor, which forks it, can't wait for clients or ask servers.

The socket listens before anything is forked. So a port that can't be had is an error at the start, and clients wait
while this process is replaced.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import Final

from ..log.lines import logger
from ..shared.counters import WorkerCounters
from ..system.forking import ended_how, forked
from ..timing import Backoff

__all__ = ["Exporter", "listen"]

_BACKLOG: Final = 64
_LOOK: Final = 0.5
# An exporter that has served for so many seconds didn't fail for a lasting reason.
_LONG: Final = 60.0


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens at an address and a port.

    Raises `OSError` if these can't be had.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=_BACKLOG)


class Exporter:
    """One such process; the supervisor starts it where it is missing, and says when it has ended."""

    def __init__(self, listening: socket.socket, counters: WorkerCounters) -> None:
        from .server import Server  # noqa: PLC0415  a worker that doesn't listen needs no HTTP server in its memory

        self._listening = listening
        self._server = Server
        self._counters = counters
        self._pid: int | None = None
        self._backoff = Backoff(least=0.1, most=30.0)
        self._forking = False
        self._began = 0.0
        # A worker process that drains for long must not keep the port from the next supervisor.
        os.register_at_fork(after_in_child=self._close_elsewhere)

    def start_if_missing(self) -> None:
        """Fork the process, unless it is there, or has just failed."""
        if self._pid is None and self._backoff.over:
            supervisor = os.getpid()
            self._forking, self._began = True, time.monotonic()
            self._pid = forked(lambda: self._serve(supervisor), deaf=True)
            self._forking = False

    def ended(self, pid: int, code: int) -> bool:
        """Note that a process has ended, and return whether it was this one."""
        if pid != self._pid:
            return False
        self._pid = None
        if time.monotonic() - self._began > _LONG:
            self._backoff.reset()
        wait = self._backoff.more()
        logger.error("The exporter, process %d, %s. Another starts in %.1f s.", pid, ended_how(code), wait)
        return True

    def end(self) -> None:
        """Kill the process, which holds nothing."""
        if self._pid is not None:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
        self._listening.close()

    def _serve(self, supervisor: int) -> int:
        # A SIGTERM changes nothing: the exporter reports the stop until the supervisor kills it.
        server = self._server(self._listening, self._counters)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while os.getppid() == supervisor:
            time.sleep(_LOOK)
        return 0

    def _close_elsewhere(self) -> None:
        if not self._forking:
            self._listening.close()
