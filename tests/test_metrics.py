"""Metrics of what is on the servers, as a web process tells them."""

import json
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from prometheus_client import CollectorRegistry, generate_latest

from django_redis_streams import conf, connections, metrics
from django_redis_streams.metrics import names
from django_redis_streams.operations import dead_letters, groups
from django_redis_streams.store.consume.clock import note_jump, server_time

from .support import states
from .support.documents import ROOT
from .support.samples import families, samples
from .support.servers import Server
from .support.waiting import wait_until

Raw = Any
Streams = Callable[..., None]
SERVERS = [each.name for each in (*names.GAUGES, *names.TOTALS) if each.labels == ("connection",)]
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


@pytest.fixture(autouse=True)
def _empty(streams: Callable[..., None]) -> None:
    """Begin with an empty server."""


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra isn't installed."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "prometheus_client"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)


def scraped(accept: str = "") -> dict[tuple[str, ...], float]:
    """The samples that the view answers."""
    response = Client().get("/metrics", headers={"accept": accept})
    assert response.status_code == 200
    return samples(response.content.decode(), response["Content-Type"])


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
def test_the_state_of_each_stream_and_group_is_told(raw: Raw, accept: str) -> None:
    """By gauges, in either format that Prometheus reads."""
    states.publish(raw, {"a": "1"})
    states.bury()
    states.publish(raw, {"a": "2"})
    states.retry()
    states.publish(raw, {"a": "3"}, {"a": "4"}, {"a": "5"})
    states.deliver(count=1)
    states.publish(raw, {"a": "6"})
    groups.pause("orders", "billing", by="tests")
    states.delay({"a": "7"})
    raw.xgroup_create("orders", "stranger")
    found = scraped(accept)
    assert found["redis_streams_up", "orders"] == 1
    assert found["redis_streams_length", "orders"] == 6
    assert found["redis_streams_dead_letters", "orders"] == 1
    assert found["redis_streams_undeclared_groups", "orders"] == 1
    assert found["redis_streams_delayed", "orders"] == 1
    assert found["redis_streams_delayed_overdue", "orders"] == 0
    assert found["redis_streams_ids_ahead_seconds", "orders"] == 0
    of_billing = {name: value for (name, *labels), value in found.items() if labels == ["billing", "orders"]}
    assert 0 <= of_billing.pop("redis_streams_oldest_unread_age_seconds") < 10
    assert 0 <= of_billing.pop("redis_streams_oldest_pending_age_seconds") < 10
    assert 0 <= of_billing.pop("redis_streams_longest_pending_idle_seconds") < 10
    # Redis 6.2 doesn't count what a group has read: it can't tell.
    assert of_billing.pop("redis_streams_lag", None) == (2 if "lag" in raw.xinfo_groups("orders")[0] else None)
    assert of_billing == {
        "redis_streams_pending": 2,
        "redis_streams_retrying": 1,
        "redis_streams_retrying_overdue": 0,
        "redis_streams_dead_letter_arrivals_total": 1,
        "redis_streams_consumers": 1,
        "redis_streams_paused": 1,
    }
    assert found["redis_streams_lag", "loyalty", "orders"] == 6


@pytest.mark.django_db(transaction=True)
def test_each_metric_is_exported_with_its_labels_and_help(streams: Streams) -> None:
    """What the table of names says is what a scrape brings."""
    streams({"orders": {"GROUPS": {"billing": {}}, "OUTBOX": "fallback"}})
    text = Client().get("/metrics").content.decode()
    told = {each.samples[0].name: each for each in families(text, "text/plain")}
    kinds = dict.fromkeys((*names.GAUGES, *names.OUTBOX), "gauge") | dict.fromkeys(names.TOTALS, "counter")
    assert set(told) == {each.name for each in kinds}
    for each, kind in kinds.items():
        assert told[each.name].type == kind
        assert told[each.name].documentation == each.told
        assert {frozenset(sample.labels) for sample in told[each.name].samples} == {frozenset(each.labels)}


def test_dead_letters_that_arrive_are_counted_whatever_becomes_of_them(raw: Raw) -> None:
    """Two came and one was replayed: one is there."""
    arrivals = ("redis_streams_dead_letter_arrivals_total", "billing", "orders")
    assert scraped()[arrivals] == 0
    states.publish(raw, {"a": "1"}, {"a": "2"})
    states.bury()
    (first, _) = raw.xrange("{orders}:dlq")
    dead_letters.replay("orders", [first[0]], by="tests")
    found = scraped()
    assert (found[arrivals], found["redis_streams_dead_letters", "orders"]) == (2, 1)


def test_what_is_overdue_is_told(raw: Raw) -> None:
    """A retry and a delayed message that were due a minute ago, and that nobody has moved."""
    states.publish(raw, {"a": "1"})
    states.retry(delay=60)
    states.delay({"a": "2"})
    keys = conf.stream("orders").keys
    for key in (keys.delayed, keys.retry("billing")):
        for member in raw.zrange(key, 0, -1):
            raw.zadd(key, {member: (raw.time()[0] - 60) * 1000})
    found = scraped()
    assert found["redis_streams_retrying_overdue", "billing", "orders"] == 1
    assert found["redis_streams_delayed_overdue", "orders"] == 1


def of_servers(alias: str = "default") -> dict[str, float]:
    """What is told of a connection's server, by name."""
    found = scraped()
    return {name: found[name, alias] for name in SERVERS if (name, alias) in found}


def test_what_a_server_says_of_its_memory_is_told(make_server: Callable[..., Server], streams: Streams) -> None:
    """How much it uses and may use, and what it deletes once that is full."""
    own = make_server(maxmemory="64mb", maxmemory_policy="noeviction")
    streams(URL=own.url)
    told = of_servers()
    assert set(told) == set(SERVERS)
    assert told["redis_streams_server_up"] == 1
    assert 0 < told["redis_streams_server_memory_bytes"] < 64_000_000
    assert told["redis_streams_server_maxmemory_bytes"] == 64 * 1024 * 1024
    assert (told["redis_streams_server_evicts_streams"], told["redis_streams_server_evicted_keys_total"]) == (0, 0)
    own.raw().config_set("maxmemory-policy", "volatile-lru")
    assert of_servers()["redis_streams_server_evicts_streams"] == 0
    own.raw().config_set("maxmemory-policy", "allkeys-lru")
    assert of_servers()["redis_streams_server_evicts_streams"] == 1
    for number in range(100):
        own.raw().set(f"cached {number}", "x" * 100_000)
    own.raw().config_set("maxmemory", "4mb")
    wait_until(lambda: of_servers()["redis_streams_server_evicted_keys_total"] > 0)


def test_a_server_whose_info_is_refused_is_not_up_and_of_unknown_memory(server: Server, streams: Streams) -> None:
    """Unknown is no number. Its streams and its clock are told nevertheless."""
    streams(URL=server.user("half", "blind", "+@all", "-info", "~*"))
    assert of_servers() == {
        "redis_streams_server_up": 0,
        "redis_streams_server_clock_ahead_seconds": 0,
        "redis_streams_server_clock_jump_seconds": 0,
    }
    assert scraped()["redis_streams_up", "orders"] == 1


def test_a_server_that_is_away_is_not_up(streams: Streams) -> None:
    """Nothing else is told of it."""
    streams(URL="unix:///nowhere/at.all")
    assert of_servers() == {"redis_streams_server_up": 0}


def test_a_scrape_asks_each_server_once(raw: Raw, streams: Streams) -> None:
    """One INFO and one script for each stream."""
    streams({name: {"GROUPS": {"billing": {}}} for name in ("orders", "tasks")})
    scraped()
    raw.config_resetstat()
    scraped()
    calls = {name: stats["calls"] for name, stats in raw.info("commandstats").items()}
    assert (calls["cmdstat_info"], calls["cmdstat_evalsha"]) == (1, 2)


@pytest.mark.parametrize("ahead", [3_600, -120])
def test_a_clock_that_differs_is_told(make_server: Callable[..., Server], streams: Streams, ahead: int) -> None:
    """By how many seconds at least, and in which direction."""
    own = make_server(own_clock=True)
    streams(URL=own.url)
    assert of_servers()["redis_streams_server_clock_ahead_seconds"] == 0
    own.set_clock(ahead)
    wait_until(lambda: abs(of_servers()["redis_streams_server_clock_ahead_seconds"] - ahead) < 5)


def test_a_clock_that_jumped_is_told_for_an_hour(raw: Raw, streams: Streams) -> None:
    """That of any stream of the server: workers note it for each."""
    streams({name: {"GROUPS": {"billing": {}}} for name in ("orders", "tasks")})
    jump, keys = "redis_streams_server_clock_jump_seconds", conf.stream("tasks").keys
    assert of_servers()[jump] == 0
    note_jump(connections.get(), keys, -120_500)
    assert of_servers()[jump] == -120.5
    now = server_time(connections.get())
    raw.hset(keys.clock, "jumped", now - 3_600_001)
    assert of_servers()[jump] == 0
    raw.hset(keys.clock, "seen", now + 60_000)
    assert -61 < of_servers()[jump] < -50


def test_what_the_server_cannot_know_is_missing(raw: Raw) -> None:
    """Unknown is no number, and least of all 0."""
    entries = states.publish(raw, {"a": "1"}, {"a": "2"}, {"a": "3"}, {"a": "4"})
    states.deliver(count=1)
    raw.xdel("orders", entries[2])
    raw.xgroup_setid("orders", "billing", entries[0])
    found = scraped()
    assert ("redis_streams_lag", "billing", "orders") not in found
    assert found["redis_streams_pending", "billing", "orders"] == 2


def test_an_age_that_nobody_knows_is_missing(raw: Raw) -> None:
    """How far the ids are ahead is told instead."""
    raw.xadd("orders", {"a": "1"}, id="9999999999999-0")
    states.deliver(count=1)
    raw.xadd("orders", {"a": "2"})
    found = scraped()
    assert ("redis_streams_oldest_unread_age_seconds", "billing", "orders") not in found
    assert ("redis_streams_oldest_pending_age_seconds", "billing", "orders") not in found
    assert found["redis_streams_ids_ahead_seconds", "orders"] > 1e9


def test_a_server_that_is_down_hides_no_other(
    raw: Raw, server: Server, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its streams are not up, and the log says why."""
    settings.REDIS_STREAMS = {
        "CONNECTIONS": {"default": {"URL": server.url}, "down": {"URL": "unix:///nowhere/at.all"}},
        "STREAMS": {"orders": {"GROUPS": {"billing": {}}}, "lost": {"CONNECTION": "down", "GROUPS": {"billing": {}}}},
    }
    found = scraped()
    assert found["redis_streams_up", "lost"] == 0
    assert found["redis_streams_up", "orders"] == 1
    assert ("redis_streams_length", "lost") not in found
    assert "No metrics of stream 'lost'" in caplog.text


def test_a_project_may_have_a_registry_of_its_own(raw: Raw) -> None:
    """Registering asks no server; collecting does."""
    states.publish(raw, {"a": "1"})
    raw.config_resetstat()
    registry = CollectorRegistry(auto_describe=True)
    registry.register(metrics.Collector())
    assert "cmdstat_evalsha" not in raw.info("commandstats")
    assert samples(generate_latest(registry).decode())["redis_streams_length", "orders"] == 1


def test_the_view_only_tells() -> None:
    """It takes no POST, opens no transaction, and no cache may keep what it tells."""
    assert Client().post("/metrics").status_code == 405
    assert "no-store" in Client().get("/metrics")["Cache-Control"]
    assert Client().head("/metrics").content == b""


@pytest.mark.usefixtures("missing")
def test_without_the_extra_the_view_says_what_to_install() -> None:
    """Anybody who scrapes it reads the command."""
    response = Client().get("/metrics")
    assert response.status_code == 501
    assert 'pip install "django-redis-streams[prometheus]"' in response.content.decode()


ALL = (*names.GAUGES, *names.TOTALS, *names.OUTBOX, *names.COUNTERS, *names.HISTOGRAMS)


def shown() -> str:
    """What the dashboard's panels and menus ask Prometheus for."""
    dashboard = json.loads((ROOT / "docs/grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return "\n".join(asked + [each["definition"] for each in dashboard["templating"]["list"] if "definition" in each])


def alerted() -> str:
    """What the alert rules look at."""
    return (ROOT / "docs/prometheus-alerts.yml").read_text()


def named_in(text: str) -> set[str]:
    """The metrics that these expressions name."""
    return {re.sub(r"_seconds_bucket$", "_seconds", each) for each in re.findall(r"\bredis_streams_\w+", text)}


def exported() -> set[str]:
    """All that a web process and a worker export."""
    return {each.name for each in ALL}


def test_the_dashboard_shows_all_that_is_exported() -> None:
    """And nothing that isn't."""
    assert named_in(shown()) == exported()


def test_alerts_look_at_what_is_exported() -> None:
    """A rule on a name that nobody exports never fires."""
    assert named_in(alerted()) <= exported()
    assert len(named_in(alerted())) > 5


@pytest.mark.parametrize("text", [shown(), alerted()], ids=["dashboard", "alerts"])
def test_sums_and_filters_go_by_labels_that_there_are(text: str) -> None:
    """A label that isn't exported would make one series of all, or none."""
    labels = {each for found in re.findall(r"by \(([\w, ]+)\)", text) for each in found.split(", ")}
    labels |= set(re.findall(r'(\w+)=~?"', text)) | set(re.findall(r"\$labels\.(\w+)", text))
    # Prometheus itself adds the instance.
    assert labels - {"le", "instance"} == {each for metric in ALL for each in metric.labels}


_FILL = """
for n = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'type', 'order.created', 'data', '{"order_id":"ord_123"}') end
"""


@pytest.mark.slow
def test_a_scrape_costs_the_same_however_much_there_is(raw: Raw) -> None:
    """A million entries, 100,000 pending and 10,000 dead letters: told in well under half a second."""
    for key, thousands in (("orders", 1_000), ("{orders}:dlq", 10)):
        for _ in range(thousands // 10):
            raw.eval(_FILL, 1, key, 10_000)
    states.deliver(count=1)
    for number in range(100):
        raw.xreadgroup("billing", f"consumer-{number}", {"orders": ">"}, count=1_000)
    began = time.perf_counter()
    found = scraped()
    took = time.perf_counter() - began
    assert found["redis_streams_length", "orders"] == 1_000_000
    assert found["redis_streams_dead_letters", "orders"] == 10_000
    assert found["redis_streams_pending", "billing", "orders"] >= 100_000
    assert took < 0.5
