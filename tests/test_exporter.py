"""What a worker tells at its own port: metrics of all its processes, and probes."""

import io
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from django.core.management import CommandError, call_command

from django_redis_streams import conf
from django_redis_streams.handlers import handler
from django_redis_streams.metrics import BOUNDS
from django_redis_streams.outcomes import Ack
from django_redis_streams.store.consume.delivery import Delivery, deliveries
from django_redis_streams.wire import Origin
from django_redis_streams.worker.http.health import not_alive, not_ready
from django_redis_streams.worker.shared.counters import Histogram, WorkerCounters, _shared
from django_redis_streams.worker.shared.latency import note_latency

from .support.samples import samples
from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import Fleet

Raw = Any
Found = dict[tuple[str, ...], float]
PROCESSED = ("redis_streams_processed_total", "billing", "orders")


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def asked(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """The status and the body; 0 while nobody answers."""
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=20) as reply:
            return reply.status, reply.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except (URLError, ConnectionError):
        return 0, ""


def scraped(port: int) -> Found:
    """The samples of the worker's port, none while it starts."""
    status, text = asked(port, "/metrics")
    return samples(text) if status == 200 else {}


def ready(port: int) -> bool:
    """Whether the worker says so."""
    return asked(port, "/readyz")[0] == 200


def publish(raw: Raw, *things: str) -> None:
    """Have handlers do these."""
    for each in things:
        raw.xadd("orders", {"do": each})


def exporter_of(fleet: Fleet, process: Any, workers: set[int]) -> int:
    """The pid of the child that is none of these workers."""
    (found,) = set(fleet.children(process)) - workers
    return found


def test_all_processes_are_told_together(fleet: Fleet, raw: Raw, port: int) -> None:
    """By stream and group, each message once, with how long it took and had waited."""
    fleet.start("--processes", "2", "--threads", "2", "--metrics-port", str(port))
    publish(raw, *["nothing"] * 40)
    wait_until(lambda: scraped(port).get(PROCESSED) == 40)
    found = scraped(port)
    for name in ("redis_streams_duration_seconds", "redis_streams_latency_seconds"):
        assert found[f"{name}_count", "billing", "orders"] == 40
        assert found[f"{name}_bucket", "billing", "+Inf", "orders"] == 40
        assert 0 <= found[f"{name}_sum", "billing", "orders"] < 1000
    assert found["redis_streams_retried_total", "billing", "orders"] == 0


def test_a_process_that_is_killed_sets_no_counter_back(fleet: Fleet, raw: Raw, port: int) -> None:
    """The one that takes its place counts on."""
    worker = fleet.start("--metrics-port", str(port))
    publish(raw, *["nothing"] * 10)
    wait_until(lambda: scraped(port).get(PROCESSED) == 10)
    pids = {int(pid) for *_, pid in fleet.noted("ended")} or {int(each[-1]) for each in fleet.noted("began")}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    publish(raw, *["nothing"] * 5)
    wait_until(lambda: scraped(port).get(PROCESSED) == 15)
    assert worker.poll() is None


def test_an_exporter_that_dies_is_replaced(fleet: Fleet, raw: Raw, port: int) -> None:
    """The port stays, and the figures too."""
    worker = fleet.start("--metrics-port", str(port))
    publish(raw, "nothing")
    wait_until(lambda: scraped(port).get(PROCESSED) == 1)
    workers = {int(each[-1]) for each in fleet.noted("began")}
    first = exporter_of(fleet, worker, workers)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: scraped(port).get(PROCESSED) == 1)
    assert exporter_of(fleet, worker, workers) != first


def test_probes_say_that_a_worker_is_alive_and_ready(fleet: Fleet, port: int) -> None:
    """Also where only they are wanted."""
    fleet.start("--health-port", str(port))
    wait_until(lambda: ready(port))
    assert json.loads(asked(port, "/healthz")[1]) == {"ok": True, "problems": []}


def test_a_worker_whose_server_is_away_is_alive_and_not_ready(
    fleet: Fleet, make_server: Callable[..., Any], port: int
) -> None:
    """A restart of it would mend nothing."""
    server = make_server()
    fleet.url = server.url
    fleet.start("--health-port", str(port))
    wait_until(lambda: ready(port))
    server.stop()
    wait_until(lambda: not ready(port))
    assert "not connected" in asked(port, "/readyz")[1]
    assert asked(port, "/healthz")[0] == 200


def suspend(pids: set[int]) -> None:
    """Suspend these processes: what they have sent by now, their server will read before what is sent after it."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        wait_until(lambda pid=pid: Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T")


def test_a_probe_asks_no_server(fleet: Fleet, raw: Raw, port: int) -> None:
    """Nor does a scrape of what workers do: while others are suspended, the server hears from this test alone."""
    worker = fleet.start("--metrics-port", str(port))
    publish(raw, "nothing")
    wait_until(lambda: ready(port) and fleet.noted("began"))
    exporter = exporter_of(fleet, worker, {int(each[-1]) for each in fleet.noted("began")})
    suspend({worker.pid, *fleet.children(worker)} - {exporter})
    raw.ping()  # answered after whatever they sent
    before = raw.info("stats")
    for path in ("/healthz", "/readyz", "/metrics"):
        assert asked(port, path)[0] == 200
    after = raw.info("stats")
    assert after["total_connections_received"] == before["total_connections_received"]
    assert after["total_commands_processed"] == before["total_commands_processed"] + 1


def test_the_gauges_of_the_streams_are_there_too(fleet: Fleet, raw: Raw, port: int) -> None:
    """For a project without a web process that could be scraped."""
    fleet.start("--metrics-port", str(port))
    publish(raw, "nothing")
    wait_until(lambda: ready(port))
    assert samples(asked(port, "/metrics/streams")[1])["redis_streams_length", "orders"] == 1


def of_group(port: int, name: str) -> float:
    """A gauge or counter of the group, as its server tells it; -1 while the worker starts."""
    status, text = asked(port, "/metrics/streams")
    return samples(text)[f"redis_streams_{name}", "billing", "orders"] if status == 200 else -1


def test_dead_letters_arrive_however_their_runs_ended(fleet: Fleet, raw: Raw, port: int) -> None:
    """Also what ends its process, and what has to be ended with it; the worker counts as many itself."""
    fleet.streams = {"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 0, "MAX_CRASHES": 1, "TIMEOUT": 1}}}}
    fleet.start("--metrics-port", str(port))
    of_worker = ("redis_streams_dead_lettered_total", "billing", "orders")
    publish(raw, "reject")
    wait_until(lambda: scraped(port).get(of_worker) == 1)
    publish(raw, "exit-hard:0", "sleep:600")
    wait_until(lambda: of_group(port, "dead_letter_arrivals_total") == 3)
    wait_until(lambda: scraped(port)[of_worker] == 3)


def test_a_message_that_a_worker_renews_is_not_idle_however_old_it_is(
    fleet: Fleet, raw: Raw, port: int, tmp_path: Path
) -> None:
    """Its handler runs, and the idle time begins anew again and again."""
    fleet.streams = {"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 2, "START": "0"}}}}
    raw.xadd("orders", {"do": f"wait:{tmp_path / 'finish'}"}, id=f"{(raw.time()[0] - 7_200) * 1000}-1")
    fleet.start("--metrics-port", str(port))
    wait_until(lambda: of_group(port, "oldest_pending_age_seconds") >= 7_200)
    seen = [0.0]

    def renewed() -> bool:
        seen.append(of_group(port, "longest_pending_idle_seconds"))
        return seen[-1] < seen[-2]

    wait_until(renewed)
    wait_until(renewed)
    assert max(seen) < 60
    (tmp_path / "finish").touch()


AHEAD = ("redis_streams_server_clock_ahead_seconds", "default")


@pytest.mark.parametrize("ahead", [0, 3_600, -120])
def test_a_server_whose_clock_differs_from_the_worker_s_is_told(
    fleet: Fleet, make_server: Callable[..., Server], port: int, ahead: int
) -> None:
    """By how many seconds at least; the host's own port asks no server for it."""
    own = make_server(own_clock=True)
    own.set_clock(ahead)
    fleet.url = own.url
    fleet.start("--processes", "2", "--metrics-port", str(port))
    wait_until(lambda: AHEAD in scraped(port))
    wait_until(lambda: abs(scraped(port)[AHEAD] - ahead) < 5)


def test_a_clock_that_nobody_has_looked_at_lately_is_unknown(
    counters: WorkerCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the server is away, and before the first look of a process."""
    consumer = counters.processes[0].consumers[0]
    assert consumer.clock_ahead is None
    consumer.saw_clock(-120.0)
    assert consumer.clock_ahead == -120
    later = time.monotonic() + 91
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert consumer.clock_ahead is None


def test_bad_requests_harm_nobody(fleet: Fleet, port: int) -> None:
    """Each gets its error, or nothing; the next is answered."""
    fleet.start("--health-port", str(port))
    wait_until(lambda: ready(port))
    assert asked(port, "/")[0] == 404
    assert asked(port, "/healthz", "POST")[0] == 501
    for sent in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"G", b""):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(sent)
            if sent.endswith(b"\r\n\r\n"):
                assert re.search(rb"40\d|505", client.recv(1000))
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    # Each of them may take five seconds: one after another, they would hold this up for longer than `asked` waits.
    assert asked(port, "/healthz")[0] == 200
    for each in slow:
        each.close()


@pytest.mark.usefixtures("isolated_handlers", "streams")
def test_a_port_that_is_in_use_is_an_error_at_the_start() -> None:
    """Which says the port, and what to change."""
    handler("orders", group="billing")(lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=rf"port {port}: Address already in use.* Choose another --metrics-port"):
            call_command("runconsumers", "orders:billing", health_port=port, metrics_address="127.0.0.1")


@pytest.mark.usefixtures("isolated_handlers", "streams")
def test_without_the_extra_metrics_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that mends it."""
    handler("orders", group="billing")(lambda _: None)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(CommandError, match=re.escape('pip install "django-redis-streams[prometheus]"')):
        call_command("runconsumers", "orders:billing", metrics_port=1)


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_port_is_a_number(port: str) -> None:
    """Anything else is refused."""
    with pytest.raises(CommandError, match="expected a port"):
        call_command("runconsumers", f"--metrics-port={port}")


def test_after_a_kill_of_the_supervisor_the_port_is_free(fleet: Fleet, raw: Raw, port: int) -> None:
    """Although a process of it still runs a handler: the next worker needs it."""
    worker = fleet.start("--health-port", str(port))
    wait_until(lambda: ready(port))
    worker.kill()
    worker.wait()

    def is_free() -> bool:
        try:
            socket.create_server(("", port)).close()
        except OSError:
            return False
        return True

    wait_until(is_free)


# ---------------------------------------------------------------- `manage.py streams health`


def health(port: int, *options: str) -> tuple[int, str]:
    """The exit code, and what the command said."""
    out = io.StringIO()
    try:
        call_command("streams", "health", "--port", str(port), *options, stdout=out)
    except SystemExit as left:
        return int(str(left.code)), out.getvalue()
    return 0, out.getvalue()


def test_a_command_asks_the_worker(fleet: Fleet, make_server: Callable[..., Any], port: int) -> None:
    """For a probe that runs a command: by its exit code, and in words or JSON."""
    server = make_server()
    fleet.url = server.url
    fleet.start("--health-port", str(port))
    wait_until(lambda: ready(port))
    assert health(port) == (0, "The worker is alive.\n")
    assert health(port, "--ready") == (0, "The worker is ready.\n")
    server.stop()
    wait_until(lambda: not ready(port))
    code, told = health(port, "--ready", "--json")
    assert (code, json.loads(told)["ok"]) == (1, False)
    assert health(port)[0] == 0


def test_the_command_fails_where_no_worker_answers(port: int, server: Server) -> None:
    """It says what is needed."""
    with pytest.raises(CommandError, match=f"runconsumers --health-port {port}") as failed:
        health(port)
    assert failed.value.returncode == 1


def test_the_command_knows_what_is_no_worker() -> None:
    """Another service has this port."""
    other = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=other.handle_request)
    thread.start()
    with other, pytest.raises(CommandError, match="isn't a worker"):
        health(other.server_port)
    thread.join()


@pytest.mark.parametrize("options", [[], ["--port", "http"]], ids=["no port", "no number"])
def test_the_command_needs_a_port(options: list[str]) -> None:
    """Nobody can guess it."""
    with pytest.raises(CommandError, match=r"--port"):
        call_command("streams", "health", *options)


# ---------------------------------------------------------------- what is written down, and what it means


@pytest.fixture
def counters(streams: Callable[..., None]) -> WorkerCounters:
    """Of a worker with one process that works well."""
    stream = conf.stream("orders")
    made = WorkerCounters([(stream, stream.groups["billing"])], 1)
    made.beat(stopping=False)
    made.take().consumers[0].turned(well=True)
    return made


def test_what_works_well_has_no_problem(counters: WorkerCounters) -> None:
    """The beginning of all that follows."""
    assert not_ready(counters) == []


def test_a_loop_that_stands_still_is_not_alive(counters: WorkerCounters, monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumer's or the supervisor's; but a handler may take as long as it needs."""
    later = time.monotonic() + 31
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not_alive(counters) == [
        "the supervisor is silent for 31 s",
        "orders:billing: a consumer is silent for 31 s",
    ]
    counters.beat(stopping=False)
    counters.processes[0].consumers[0].runs_batch()
    assert not_alive(counters) == []


def test_a_worker_that_stops_or_lacks_a_process_is_not_ready(counters: WorkerCounters) -> None:
    """It is alive."""
    counters.processes[0].end()
    counters.beat(stopping=True)
    assert not_ready(counters) == ["the worker stops", "0 of 1 processes run"]
    assert not_alive(counters) == []


def test_two_processes_never_write_to_the_same_counters(counters: WorkerCounters) -> None:
    """One that drains may run beside its replacement; counters that are free again are counted on in."""
    first = counters.processes[0]
    taken = [counters.take() for _ in range(9)]
    assert len({id(each) for each in [first, *taken]}) == 10
    first.consumers[0].settled(Ack(), 7)
    first.end()
    assert counters.take() is first
    assert first.consumers[0].read().counts[0] == 7


@pytest.mark.parametrize("values", [[0.0005, 0.001], [0.0005, 0.3, 7000.0]])
def test_a_histogram_counts_each_value_in_its_bucket(values: list[float]) -> None:
    """A bound belongs to the bucket below it, as Prometheus has it."""
    histogram = Histogram(_shared(len(BOUNDS) + 2))
    assert histogram.add(values) == max(values)
    *buckets, total = histogram.read()
    assert buckets == [sum(Histogram.bucket(value) == number for value in values) for number in range(len(BOUNDS) + 1)]
    assert total == sum(values)


def entry(milliseconds: int, key: str = "orders") -> Delivery:
    """An entry that was appended then."""
    (made,) = deliveries(Origin(stream="orders", group="billing", key="orders"), key, [(f"{milliseconds}-0", [])])
    return made


@pytest.mark.parametrize(
    ("appended", "buckets"),
    [
        ([1_000_000, 1_000_500], {3600.0: 2}),
        ([1_990_000, 1_999_999], {10.0: 1, 0.25: 1}),
        ([2_000_500], {0.001: 1}),
    ],
    ids=["all alike", "each its own", "a clock that is behind"],
)
def test_messages_have_waited_since_they_were_published(appended: list[int], buckets: dict[float, int]) -> None:
    """Until their own run, not that of the batch's first; never less than nothing."""
    histogram = Histogram(_shared(len(BOUNDS) + 2))
    note_latency(histogram, list(map(entry, appended)), 2000.0, [0.2] * len(appended))
    counts = histogram.read()[:-1]
    assert {BOUNDS[number]: count for number, count in enumerate(counts) if count} == buckets


def test_of_a_batch_of_many_each_counts_where_it_belongs() -> None:
    """What was claimed has waited for long, what was read with it hasn't, and a retry not at all."""
    histogram = Histogram(_shared(len(BOUNDS) + 2))
    retries = [entry(1, "{orders}:redelivery:billing")] * 5
    batch = [*retries, *map(entry, [1_000_000] * 41), *map(entry, [1_995_500] * 13)]
    note_latency(histogram, batch, 2000.0, [0.001] * len(batch))
    *counts, total = histogram.read()
    assert {BOUNDS[number]: count for number, count in enumerate(counts) if count} == {3600.0: 41, 5.0: 13}
    assert total == pytest.approx(41 * 1000 + 13 * 4.5, rel=0.01)


def test_a_retry_has_not_waited() -> None:
    """Nor has what was replayed: it waited on purpose."""
    histogram = Histogram(_shared(len(BOUNDS) + 2))
    note_latency(histogram, [entry(1, "{orders}:redelivery:billing")], 2000.0, [0.1])
    assert sum(histogram.read()) == 0
