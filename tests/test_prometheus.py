"""A real Prometheus reads what is exported, and understands the alert rules; .ci/run installs one."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.core.handlers.wsgi import WSGIHandler

from django_redis_streams.metrics import names
from django_redis_streams.metrics.names import Metric

from .support import states
from .support.documents import ROOT
from .support.waiting import wait_until
from .support.workers import Fleet

Raw = Any
RULES = ROOT / "docs/prometheus-alerts.yml"

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")), reason="no Prometheus: apt-get install prometheus"
)


class Silent(WSGIRequestHandler):
    """Serves a request without a line on the terminal."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def web(streams: Callable[..., None], settings: Any) -> Iterator[str]:
    """The address of a web process that serves the project's urls."""
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    with make_server("127.0.0.1", 0, WSGIHandler(), handler_class=Silent) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


class Prometheus:
    """A server that scrapes one target each second, and evaluates the rules as often."""

    def __init__(self, directory: Path, target: str) -> None:
        configuration = directory / "prometheus.yml"
        # JSON is YAML.
        configuration.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(RULES)],
                    "scrape_configs": [{"job_name": "web", "static_configs": [{"targets": [target]}]}],
                }
            )
        )
        with make_server("127.0.0.1", 0, WSGIHandler()) as free:
            self._address = f"127.0.0.1:{free.server_port}"
        self._log = directory / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address={self._address}",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip

    def asked(self, path: str) -> Any:
        """What its API answers, None while it starts."""
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urlopen(f"http://{self._address}/api/v1/{path}", timeout=5) as reply:
                return json.load(reply)["data"]
        except URLError:
            return None

    def value(self, expression: str) -> float | None:
        """What an expression of one series is now, None where there is none."""
        found = self.asked(f"query?query={quote(expression)}")
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def prometheus(tmp_path: Path, web: str) -> Iterator[Prometheus]:
    """A server of its own, which scrapes the web process."""
    started = Prometheus(tmp_path, web)
    try:
        yield started
    finally:
        started.stop()


def test_prometheus_scrapes_without_an_error(prometheus: Prometheus, raw: Raw) -> None:
    """It has the figures, and evaluates each rule on them."""
    states.publish(raw, {"a": "1"}, {"a": "2"}, {"a": "3"})
    wait_until(lambda: prometheus.value('redis_streams_length{stream="orders"}') == 3)
    (target,) = prometheus.asked("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")

    def rules() -> list[Any]:
        return [rule for group in prometheus.asked("rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(each["health"] != "unknown" for each in rules()))
    assert {each["health"] for each in rules()} == {"ok"}


def test_prometheus_scrapes_a_worker(tmp_path: Path, fleet: Fleet, raw: Raw) -> None:
    """Its counters and histograms, as they are."""
    with make_server("127.0.0.1", 0, WSGIHandler()) as free:
        port = free.server_port
    fleet.start("--processes", "2", "--metrics-port", str(port))
    for _ in range(5):
        raw.xadd("orders", {"do": "nothing"})
    started = Prometheus(tmp_path, f"127.0.0.1:{port}")
    try:
        wait_until(lambda: started.value('redis_streams_processed_total{stream="orders"}') == 5)
        assert started.value('redis_streams_duration_seconds_count{group="billing"}') == 5
        (target,) = started.asked("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
    finally:
        started.stop()


def test_an_alert_tells_that_nobody_reads_a_group(prometheus: Prometheus, raw: Raw) -> None:
    """What waits while no consumer is there makes the rule pending, until it has waited for long enough."""
    states.publish(raw, {"a": "1"})
    wait_until(
        lambda: prometheus.value('ALERTS{alertname="RedisStreamGroupWithoutConsumer", group="billing"}'),
        "the alert is pending",
    )
    assert not prometheus.value('ALERTS{alertname="RedisStreamUnreadable"}')


def test_the_alert_rules_are_in_order() -> None:
    """As Prometheus' own tool judges."""
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True, stdout=subprocess.DEVNULL)


@dataclass(frozen=True)
class Case:
    """Series as promtool writes them, a sample each minute, and whether a rule fires on them at some time."""

    alert: str
    fires: bool
    name: str
    at: str
    series: Mapping[Metric, str]

    def __str__(self) -> str:
        """The test's id."""
        return f"{self.alert}-{self.name.replace(' ', '_')}"


WAITING_UNREAD = {names.CONSUMERS: "0x60", names.OLDEST_UNREAD: "0+60x60"}
HELD = {names.OLDEST_PENDING: "0+60x120", names.OLDEST_UNREAD: "0x120", names.CONSUMERS: "1x120"}
OLD_BACKLOG = {
    names.UP: "1x120", names.CONSUMERS: "1x120", names.PAUSED: "0x120", names.OLDEST_UNREAD: "7200x120",
    names.OLDEST_PENDING: "7201x120", names.LONGEST_IDLE: "0 0.02 20 0.01 0 10 0.3 0.1x113", names.PENDING: "5x120",
    names.RETRYING: "0x120",
}  # fmt: skip

CASES = [
    Case("RedisStreamsNotMeasured", True, "nothing is scraped", "10m", {names.DURATION: "1x10"}),
    Case("RedisStreamsNotMeasured", False, "what is scraped can't read a stream", "10m", {names.UP: "0x10"}),
    Case("RedisStreamUnreadable", True, "for minutes", "5m", {names.UP: "1 0x5"}),
    Case("RedisStreamUnreadable", False, "for a moment", "5m", {names.UP: "1 0 1 0 0 1"}),
    Case("RedisStreamIdsInFuture", True, "for minutes", "8m", {names.IDS_AHEAD: "7200x9"}),
    Case("RedisStreamIdsInFuture", False, "clocks that differ a little", "8m", {names.IDS_AHEAD: "5x9"}),
    Case("RedisStreamIdsInFuture", False, "for a moment", "8m", {names.IDS_AHEAD: "120 120 0x9"}),
    Case("RedisStreamGroupWithoutConsumer", True, "unread", "10m", {**WAITING_UNREAD, names.PAUSED: "0x60"}),
    Case(
        "RedisStreamGroupWithoutConsumer", True, "retries", "10m",
        {names.CONSUMERS: "0x60", names.RETRYING: "3x60", names.PAUSED: "0x60"},
    ),
    Case("RedisStreamGroupWithoutConsumer", False, "paused", "10m", {**WAITING_UNREAD, names.PAUSED: "1x60"}),
    Case(
        "RedisStreamGroupWithoutConsumer", False, "nothing waits", "10m",
        {names.CONSUMERS: "0x60", names.OLDEST_UNREAD: "0x60", names.OLDEST_PENDING: "0x60", names.PAUSED: "0x60"},
    ),
    Case("RedisStreamGroupWithoutConsumer", False, "restart", "10m", {**WAITING_UNREAD, names.CONSUMERS: "0x4 1x60"}),
    Case("RedisStreamGroupFallsBehind", True, "backlog", "20m", OLD_BACKLOG),
    Case("RedisStreamGroupFallsBehind", False, "paused", "20m", {**OLD_BACKLOG, names.PAUSED: "1x120"}),
    Case("RedisStreamGroupFallsBehind", False, "a little", "20m", {**OLD_BACKLOG, names.OLDEST_UNREAD: "200x120"}),
    Case("RedisStreamMessageStuck", True, "no sign", "25m", {names.LONGEST_IDLE: "0+60x60", names.PAUSED: "0x60"}),
    Case("RedisStreamMessageStuck", False, "old backlog and healthy worker", "2h", OLD_BACKLOG),
    Case("RedisStreamMessageStuck", False, "paused", "25m", {names.LONGEST_IDLE: "0+60x60", names.PAUSED: "1x60"}),
    Case(
        "RedisStreamMessageStuck", False, "renewed", "60m",
        {names.LONGEST_IDLE: "0 20 " * 30, names.OLDEST_PENDING: "0+60x60", names.PAUSED: "0x60"},
    ),
    Case("RedisStreamHandlerRunsForLong", True, "others pass it", "80m", {**HELD, names.PAUSED: "0x120"}),
    Case("RedisStreamHandlerRunsForLong", False, "old backlog and healthy worker", "2h", OLD_BACKLOG),
    Case("RedisStreamHandlerRunsForLong", False, "half an hour", "30m", {**HELD, names.PAUSED: "0x120"}),
    Case("RedisStreamHandlerRunsForLong", False, "paused", "80m", {**HELD, names.PAUSED: "1x120"}),
    Case("RedisStreamRetriesPileUp", True, "more and more", "40m", {names.RETRYING: "0+20x60"}),
    Case("RedisStreamRetriesPileUp", False, "as many as before", "40m", {names.RETRYING: "500x60"}),
    Case("RedisStreamRetriesOverdue", True, "for minutes", "4m", {names.RETRYING_OVERDUE: "0 3x9"}),
    Case("RedisStreamRetriesOverdue", False, "moved in between", "4m", {names.RETRYING_OVERDUE: "3 0 3 0 3 0"}),
    Case("RedisStreamRetriesOverdue", False, "not due", "4m", {names.RETRYING: "9x9", names.RETRYING_OVERDUE: "0x9"}),
    Case("RedisStreamDelayedOverdue", True, "for minutes", "4m", {names.DELAYED_OVERDUE: "0 3x9"}),
    Case("RedisStreamDelayedOverdue", False, "moved in between", "4m", {names.DELAYED_OVERDUE: "3 0 3 0 3 0"}),
    Case("RedisStreamDelayedOverdue", False, "not due", "4m", {names.DELAYED: "9x9", names.DELAYED_OVERDUE: "0x9"}),
    Case(
        "RedisStreamNewDeadLetters", True, "as many are replayed", "15m",
        {names.DEAD: "100x60", names.DEAD_LETTER_ARRIVALS: "100+10x10 200x50"},
    ),
    Case(
        "RedisStreamNewDeadLetters", True, "the first of a group", "5m",
        {names.DEAD: "0 0 1x60", names.DEAD_LETTER_ARRIVALS: "0 0 1x60"},
    ),
    Case(
        "RedisStreamNewDeadLetters", False, "only old ones", "1h",
        {names.DEAD: "500x120", names.DEAD_LETTER_ARRIVALS: "500x120"},
    ),
    Case(
        "RedisStreamNewDeadLetters", False, "they are replayed", "40m",
        {names.DEAD: "500-10x40", names.DEAD_LETTER_ARRIVALS: "500x60"},
    ),
    Case("RedisStreamDeadLetters", True, "two hours", "2h", {names.DEAD: "0 500x120"}),
    Case("RedisStreamDeadLetters", True, "as many are replayed", "2h", {names.DEAD: "0 100x120"}),
    Case("RedisStreamDeadLetters", False, "replayed soon", "15m", {names.DEAD: "0 500x10 0x60"}),
    Case("RedisStreamGroupPausedForLong", True, "an hour", "65m", {names.PAUSED: "1x70"}),
    Case("RedisStreamGroupPausedForLong", False, "half an hour", "65m", {names.PAUSED: "0x30 1x40"}),
    Case("RedisStreamUndeclaredGroup", True, "an hour", "65m", {names.UNDECLARED_GROUPS: "1x70"}),
    Case("RedisStreamUndeclaredGroup", False, "during a deploy", "65m", {names.UNDECLARED_GROUPS: "1x20 0x50"}),
    Case(
        "RedisStreamHandlersFail", True, "one of three", "25m",
        {names.PROCESSED: "0+60x30", names.RETRIED: "0+30x30", names.DEAD_LETTERED: "0x30"},
    ),
    Case(
        "RedisStreamHandlersFail", False, "one of ten", "25m",
        {names.PROCESSED: "0+60x30", names.RETRIED: "0+6x30", names.DEAD_LETTERED: "0x30"},
    ),
    Case("RedisStreamMessagesChangeHands", True, "each minute", "50m", {names.CLAIMED: "0+1x60"}),
    Case("RedisStreamMessagesChangeHands", False, "after one crash", "50m", {names.CLAIMED: "0x20 9x40"}),
    Case("RedisStreamOutboxStalled", True, "no relay", "8m", {names.OUTBOX_OLDEST: "0+60x9"}),
    Case("RedisStreamOutboxStalled", False, "the server was away", "8m", {names.OUTBOX_OLDEST: "0 60 120 180 0x9"}),
    Case("RedisStreamServerSaysNothing", True, "INFO is refused", "20m", {names.SERVER_UP: "0x30"}),
    Case("RedisStreamServerSaysNothing", False, "restart", "20m", {names.SERVER_UP: "1 0 0 1x30"}),
    Case("RedisStreamServerMemoryFills", True, "85 percent", "10m", {names.MEMORY: "850x9", names.MAXMEMORY: "1000x9"}),
    Case("RedisStreamServerMemoryFills", False, "70 percent", "10m", {names.MEMORY: "70x9", names.MAXMEMORY: "100x9"}),
    Case("RedisStreamServerMemoryFills", False, "no bound", "10m", {names.MEMORY: "850x9", names.MAXMEMORY: "0x9"}),
    Case("RedisStreamServerMemoryFull", True, "97 percent", "5m", {names.MEMORY: "970x9", names.MAXMEMORY: "1000x9"}),
    Case("RedisStreamServerMemoryFull", False, "85 percent", "5m", {names.MEMORY: "850x9", names.MAXMEMORY: "1000x9"}),
    Case("RedisStreamServerMemoryFull", False, "no bound", "5m", {names.MEMORY: "970x9", names.MAXMEMORY: "0x9"}),
    Case("RedisStreamServerMayEvictStreams", True, "allkeys", "10m", {names.EVICTS_STREAMS: "1x20"}),
    Case("RedisStreamServerMayEvictStreams", False, "noeviction", "10m", {names.EVICTS_STREAMS: "0x20"}),
    Case("RedisStreamServerEvicts", True, "more than before", "10m", {names.EVICTED_KEYS: "10 10 10 12x20"}),
    Case("RedisStreamServerEvicts", False, "long ago", "10m", {names.EVICTED_KEYS: "10x20"}),
    Case("RedisStreamServerClockDiffers", True, "behind", "8m", {names.CLOCK_AHEAD: "-30x9"}),
    Case("RedisStreamServerClockDiffers", True, "ahead", "8m", {names.CLOCK_AHEAD: "30x9"}),
    Case("RedisStreamServerClockDiffers", False, "a little", "8m", {names.CLOCK_AHEAD: "-2x9"}),
    Case("RedisStreamServerClockDiffers", False, "for a moment", "8m", {names.CLOCK_AHEAD: "30 30 0x9"}),
    Case("RedisStreamServerClockJumped", True, "back", "1m", {names.CLOCK_JUMP: "0 -7200x9"}),
    Case("RedisStreamServerClockJumped", False, "more than an hour ago", "9m", {names.CLOCK_JUMP: "-7200 0x9"}),
]  # fmt: skip

LABELS = {
    "stream": "orders",
    "group": "billing",
    "connection": "default",
    "database": "default",
    "instance": "web:8000",
}


def check_firing(directory: Path, series: Mapping[Metric, str], at: str, matching: str, expected: int) -> None:
    """Fail unless so many alerts that match fire at that time, as Prometheus' own tool finds."""
    told = []
    for metric, values in series.items():
        labels = ",".join(f'{each}="{LABELS[each]}"' for each in (*metric.labels, "instance"))
        told.append({"series": f"{metric.name}{{{labels}}}", "values": values.strip()})
    asked = {
        "expr": f'count(ALERTS{{alertstate="firing",{matching}}}) or vector(0)', "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": expected}],
    }  # fmt: skip
    test = {"interval": "1m", "input_series": told, "promql_expr_test": [asked]}
    path = directory / "test.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule_fires_on_what_it_is_for_and_not_on_what_is_near_it(case: Case, tmp_path: Path) -> None:
    """On series that are made up, minute by minute."""
    check_firing(tmp_path, case.series, case.at, f'alertname="{case.alert}"', int(case.fires))


def test_each_rule_is_tried_on_both() -> None:
    """None is without a series on which it fires, and one on which it doesn't."""
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert {(each.alert, each.fires) for each in CASES} == {(name, fires) for name in alerts for fires in (True, False)}


def test_a_healthy_worker_on_an_old_backlog_is_only_behind(tmp_path: Path) -> None:
    """One alert fires, however old the messages are that it holds."""
    check_firing(tmp_path, OLD_BACKLOG, "2h", 'alertname!=""', 1)


def test_dead_letters_of_two_hours_ago_are_one_alert(tmp_path: Path) -> None:
    """That they are there is said as long as they are; that they came, no more."""
    series = {names.UP: "1x120", names.DEAD: "0 500x120", names.DEAD_LETTER_ARRIVALS: "0 500x120"}
    check_firing(tmp_path, series, "10m", 'alertname=~".*NewDeadLetters"', 1)
    check_firing(tmp_path, series, "2h", 'alertname!=""', 1)
