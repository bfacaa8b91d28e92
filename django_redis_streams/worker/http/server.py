"""The HTTP side of a worker: `/metrics`, `/metrics/streams`, `/healthz` and `/readyz`."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from ... import conf
from ...exceptions import ExtraMissing
from ...metrics import Collector, Work, work_families
from ...metrics import names as metrics
from ...metrics.exposition import Rendered, rendered
from ..shared.counters import COUNTED, CountersReading, WorkerCounters
from .health import not_alive, not_ready

__all__ = ["Server"]

_METRICS: Final = dict(
    zip(
        COUNTED,
        (
            *(metrics.PROCESSED, metrics.SKIPPED, metrics.REPEATED),
            *(metrics.RETRIED, metrics.DEAD_LETTERED, metrics.CLAIMED),
        ),
        strict=True,
    )
)
_TEXT: Final = "text/plain; charset=utf-8"


def _work(counters: WorkerCounters) -> list[Work]:
    """Return the work of all processes for each group, those included that have ended."""
    return [_sum(stream, group, counters.of(stream, group)) for stream, group in counters.groups]


def _clocks(counters: WorkerCounters) -> dict[str, float]:
    """Return by alias how many seconds more the clock of a connection's server shows than this host's, if known."""
    found: dict[str, float] = {}
    for consumer in (each for process in counters.processes for each in process.consumers):
        if (ahead := consumer.clock_ahead) is not None:
            alias = conf.stream(consumer.stream).connection
            # Each look tells the least that it can be.
            found[alias] = max(ahead, found.get(alias, 0.0), key=abs)
    return found


def _sum(stream: str, group: str, read: Sequence[CountersReading]) -> Work:
    counts = [sum(each) for each in zip(*(reading.counts for reading in read), strict=True)]
    durations = [sum(each) for each in zip(*(reading.durations for reading in read), strict=True)]
    latencies = [sum(each) for each in zip(*(reading.latency for reading in read), strict=True)]
    named = {_METRICS[name]: count for name, count in zip(COUNTED, counts, strict=True)}
    return Work(stream, group, named, durations, latencies)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request. Whatever is asked for, the server goes on."""

    server: Server
    # Seconds that a client may take for its request.
    timeout = 5
    server_version = "django_redis_streams"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with the page, or with what is wrong with the request."""
        status, content_type, body = self._answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  named so by the library

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  named so by the library
        """Nothing: a probe each second would fill any log."""

    def _answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        if path == "/healthz":
            return _health_response(not_alive(self.server.counters))
        if path == "/readyz":
            return _health_response(not_ready(self.server.counters))
        if path in {"/metrics", "/metrics/streams"}:
            try:
                answer = self._metrics(path)
            except ExtraMissing as error:
                return HTTPStatus.NOT_IMPLEMENTED, _TEXT, f"{error}\n".encode()
            return HTTPStatus.OK, answer.content_type, answer.body
        return HTTPStatus.NOT_FOUND, _TEXT, b"There are /metrics, /metrics/streams, /healthz and /readyz.\n"

    def _metrics(self, path: str) -> Rendered:
        accept = self.headers.get("Accept", "")
        if path == "/metrics":
            counters = self.server.counters
            return rendered(work_families(_work(counters), _clocks(counters)), accept)
        with self.server.one_at_a_time:
            return rendered(Collector().collect(), accept)


def _health_response(problems: Sequence[str]) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
    body = json.dumps({"ok": not problems, "problems": problems})
    return status, "application/json", f"{body}\n".encode()


class Server(ThreadingHTTPServer):
    """Serves on a socket that listens already: a thread for each request, so that a slow client holds up nobody."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, counters: WorkerCounters) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.counters = counters
        # Several scrapes at once would cost the servers several times as much.
        self.one_at_a_time = threading.Lock()

    def handle_error(self, *_: Any) -> None:
        """Nothing: the client went away, or was too slow."""
