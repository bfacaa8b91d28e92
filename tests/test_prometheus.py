"""A real Prometheus reads what is exported, and understands the alert rules; .ci/run installs one."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from django.core.handlers.wsgi import WSGIHandler

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
