"""`manage.py runconsumers`: what it takes, what it says, and how it ends."""

import json
import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_redis_streams.handlers import handler

from .support.books import books, totals
from .support.waiting import wait_until
from .support.workers import ROOT, Fleet, drain, waiting_reads

Raw = Any


def publish(raw: Raw, *do: str, stream: str = "orders") -> None:
    """Publish messages that are to do this."""
    pipeline = raw.pipeline()
    for each in do:
        pipeline.xadd(stream, {"do": each})
    pipeline.execute()


# ---------------------------------------------------------------- what it refuses

REFUSED = {
    "an unknown stream": (["ordrs"], "Stream 'ordrs' isn't declared.*Did you mean 'orders'"),
    "an unknown group": (["orders:biling"], "Group 'biling' isn't declared.*Did you mean 'billing'"),
    "a group of an unknown stream": (["nothing:billing"], "Stream 'nothing' isn't declared"),
    "a group without a handler": (["orders:loyalty"], "Group 'loyalty' of stream 'orders' has no handler"),
    "no processes": (["--processes", "0"], "--processes: '0': expected a whole number, 1 or more"),
    "no number of threads": (["--threads", "many"], "--threads: 'many': expected a whole number, 1 or more"),
    "no messages": (["--max-messages", "-1"], "--max-messages: '-1': expected a whole number"),
    "a size that is none": (["--max-memory", "lots"], "--max-memory: 'lots': expected a size.*such as 512M or 2G"),
    "a size of unknown units": (["--max-memory", "512"], "--max-memory: '512': expected a size"),
    "no memory": (["--max-memory", "0M"], "--max-memory: '0M': expected a size"),
    "less memory than a start takes": (["--max-memory", "1M"], "1 MiB is less than the .* MiB that this project uses"),
    "a time that is none": (["--shutdown-timeout", "soon"], "--shutdown-timeout: 'soon': expected seconds"),
    "a time without an end": (["--shutdown-timeout", "inf"], "--shutdown-timeout: 'inf': expected seconds"),
    "an unknown option": (["--proceses", "2"], "unrecognized arguments"),
}


@pytest.mark.parametrize(("arguments", "says"), REFUSED.values(), ids=REFUSED)
@pytest.mark.usefixtures("isolated_handlers", "streams")
def test_what_cannot_be_done_is_a_clear_error(arguments: list[str], says: str) -> None:
    """It names the value, what was expected, and the nearest name there is; nothing is started."""
    handler("orders", group="billing")(lambda _: None)
    with pytest.raises(CommandError, match=f"(?s){says}"):
        call_command("runconsumers", *arguments)


@pytest.mark.slow
def test_a_worker_says_which_options_sqlite_lacks(fleet: Fleet, tmp_path: Path) -> None:
    """Each time that it starts, unless it has them: it is the first to meet a locked database."""
    environment = {
        "DJANGO_SETTINGS_MODULE": "tests.support.default_sqlite_settings",
        "TEST_SQLITE": str(tmp_path / "db"),
    }
    fleet.streams = {"orders": {"GROUPS": {"billing": {}, "loyalty": {}}}}
    assert "(django_redis_streams.W012)" in fleet.drain(**environment)
    assert "W012" not in fleet.drain()


@pytest.mark.usefixtures("isolated_handlers", "streams")
def test_a_project_without_handlers_is_told_to_write_one() -> None:
    """There would be nothing to do."""
    with pytest.raises(CommandError, match=r"No group has a handler.*stream_handlers\.py\.$"):
        call_command("runconsumers")


@pytest.mark.usefixtures("isolated_handlers")
def test_a_project_that_only_publishes_is_told_how_to_relay(streams: Any) -> None:
    """Where a stream has an outbox."""
    streams({"orders": {"OUTBOX": "fallback"}})
    with pytest.raises(CommandError, match=r"No group has a handler.*alone: manage.py streams outbox relay$"):
        call_command("runconsumers")


@pytest.mark.usefixtures("isolated_handlers")
def test_a_connection_that_cannot_work_is_an_error_at_once(streams: Any) -> None:
    """Rather than of each process that is started, again and again."""
    handler("orders", group="billing")(lambda _: None)
    streams(OPTIONS={"socket_timout": 3})
    with pytest.raises(CommandError, match="Did you mean 'socket_timeout'"):
        call_command("runconsumers")


# ---------------------------------------------------------------- what it does


def test_it_says_what_it_serves_and_how_many_database_connections_that_may_open(raw: Raw, fleet: Fleet) -> None:
    """In its first line, before it works."""
    said = fleet.drain("--processes", "2", "--threads", "3")
    first, *_, last = said.strip().splitlines()
    assert first.startswith("Consuming orders:billing with processes: 2, threads in each: 3;")
    assert "connections to each database ('default'): 6 at most" in first
    assert last == "Stopped."


@pytest.mark.parametrize("drain", [False, True])
def test_it_says_how_many_connections_to_redis_it_keeps(raw: Raw, fleet: Fleet, tmp_path: Path, *, drain: bool) -> None:
    """In its first line, and the server counts as many: before a handler runs, meanwhile, and after it."""
    finish, url = tmp_path / "finish", fleet.url
    fleet.url = f"{url}?client_name=default"
    fleet.streams = {
        "orders": {"GROUPS": {"billing": {}, "loyalty": {}}},
        "tasks": {"CONNECTION": "other", "GROUPS": {"workers": {}}},
    }
    for stream in fleet.streams:
        publish(raw, f"wait:{finish}", stream=stream)
    worker = fleet.start(
        "--processes", "2", "--threads", "3", *(["--drain"] if drain else []),
        TEST_CONNECTIONS=json.dumps({"other": {"URL": url, "OPTIONS": {"client_name": "other"}}}),
    )  # fmt: skip

    def connected() -> dict[str, int]:
        return Counter(each["name"] for each in raw.client_list() if each["name"])

    expected = {"default": 2 * (2 * 3 + 8), "other": 2 * (3 + 8)} if drain else {"default": 26, "other": 20}
    wait_until(lambda: len(fleet.noted("began")) == 3)
    wait_until(lambda: connected() == expected)
    finish.touch()
    if not drain:
        wait_until(lambda: len(fleet.noted("ended")) == 3)
        publish(raw, "ok")
        wait_until(lambda: len(fleet.noted("ended")) == 5)
        wait_until(lambda: connected() == expected)
        worker.terminate()
    said = fleet.finish(worker).splitlines()[0]
    to_redis = ", ".join(f"{count} ({alias!r})" for alias, count in expected.items())
    assert f"; connections to Redis: {to_redis}; " in said


def test_it_serves_what_it_is_told_to(raw: Raw, fleet: Fleet) -> None:
    """A stream with all its groups, or one group of it; each once, also when it is named twice."""
    fleet.streams = {
        "orders": {"GROUPS": {"billing": {}, "loyalty": {}}},
        "tasks": {"GROUPS": {"workers": {}, "nobody": {}}},
    }
    publish(raw, "ok")
    publish(raw, "ok", stream="tasks")
    assert "Consuming orders:loyalty, tasks:workers with" in fleet.drain("orders:loyalty", "tasks", "orders:loyalty")
    assert totals(raw, "loyalty") == totals(raw, "workers", "tasks") == {"acknowledged": 1}
    assert not raw.exists("{orders}:totals:billing")


@pytest.mark.parametrize(
    ("module", "fault"),
    [
        (
            "broken_handlers",
            "can't be imported: RuntimeError: no such gateway (*/tests/support/broken_handlers.py, line 12)",
        ),
        pytest.param(
            "clashing_handlers",
            "both take every type that no other handler takes in group 'loyalty'",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_group_whose_handlers_are_faulty_keeps_no_other_from_being_served(
    raw: Raw, fleet: Fleet, module: str, fault: str
) -> None:
    """It is left out, and the log says why; the end of a drain isn't a good one. On its own it is an error."""
    fleet.streams = {"orders": {"GROUPS": {"billing": {}, "loyalty": {}}}}
    publish(raw, "ok")
    environment = {"TEST_HANDLERS": f"tests.support.{module}"}
    said = fleet.finish(fleet.start("--drain", **environment), code=1)
    assert "Consuming orders:billing with" in said
    assert totals(raw, "billing") == {"acknowledged": 1}
    assert not raw.exists("{orders}:totals:loyalty")
    told = next(line for line in said.splitlines() if "orders:loyalty isn't served" in line)
    assert "ERROR" in told
    assert all(part in told for part in fault.split("*"))
    assert said.endswith("CommandError: Not drained: orders:loyalty. The log says why.\n")
    alone = fleet.finish(fleet.start("orders:loyalty", **environment), code=1)
    assert "Consuming" not in alone
    assert f"CommandError: {told.partition('served: ')[2].removesuffix(' Other groups are.')}" in alone
    assert "orders:billing" in fleet.drain("orders:billing", **environment)


def test_drain_ends_when_nothing_is_left_and_counts_what_waits(raw: Raw, fleet: Fleet) -> None:
    """A retry that is due later is left, and said to be."""
    publish(raw, "ok", "fail-once", "retry:3600", "retry:3600", "reject")
    said = fleet.drain()
    assert books(raw)._asdict() == {
        **dict.fromkeys(("skipped", "repeated", "vanished", "discarded", "unread", "pending"), 0),
        "acknowledged": 2,
        "dead_lettered": 1,
        "retrying": 2,
    }
    assert said.strip().splitlines()[-2:] == ["orders:billing: 2 waiting for a later retry.", "Stopped."]


def test_drain_waits_for_what_another_process_is_running(raw: Raw, fleet: Fleet, tmp_path: Any) -> None:
    """It may fail, and be retried at once."""
    finish = tmp_path / "finish"
    publish(raw, f"wait:{finish}")
    other = fleet.start()
    wait_until(lambda: fleet.noted("began"))
    drain = fleet.start("--drain", TEST_BLOCK="0.1")
    reads = raw.info("commandstats")["cmdstat_xreadgroup"]["calls"]
    wait_until(lambda: raw.info("commandstats")["cmdstat_xreadgroup"]["calls"] > reads + 6, "it reads, in vain")
    assert drain.poll() is None
    finish.touch()
    fleet.finish(drain)
    assert books(raw).acknowledged == 1
    other.terminate()
    fleet.finish(other)


def test_a_stop_while_the_server_refuses_to_write_says_so(raw: Raw, fleet: Fleet) -> None:
    """It ends, with an error of one line: what it held is claimed from it later, as from one that was killed."""
    publish(raw, "ok")
    worker = fleet.start()
    wait_until(lambda: totals(raw) == {"acknowledged": 1})
    raw.config_set("min-replicas-to-write", 1)
    try:
        worker.terminate()
        said = fleet.finish(worker, code=1)
    finally:
        raw.config_set("min-replicas-to-write", 0)
    assert re.search("couldn't settle and hand back all its messages. A rescuer tries again: '.*NOREPLICAS", said)
    assert "Traceback" not in said


@pytest.mark.parametrize("most", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_max_messages_ends_each_process_after_so_many(raw: Raw, fleet: Fleet, most: int) -> None:
    """At once, not when the next message comes; the rest is left for others."""
    publish(raw, *["ok"] * 7)
    worker = fleet.start("--max-messages", str(most), TEST_BLOCK="5")
    fleet.finish(worker)
    assert len(fleet.noted("began")) == most
    assert books(raw).acknowledged == most
    assert books(raw).all == 7


def test_a_stop_is_clean_from_the_first_line_on(fleet: Fleet) -> None:
    """Whoever reads that it consumes may stop it."""
    worker = fleet.start()
    assert worker.stdout is not None
    first = worker.stdout.readline()
    worker.terminate()
    assert first.startswith("Consuming orders:billing")
    assert fleet.finish(worker).endswith("Stopped.\n")


def test_a_stop_before_the_first_line_is_clean_too(fleet: Fleet, tmp_path: Path) -> None:
    """While settings are looked at nothing runs that would have to end."""
    (tmp_path / "stops_early.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    worker = fleet.start(TEST_HANDLERS="stops_early", PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert fleet.finish(worker) == "Stopped.\n"


def test_max_messages_counts_over_all_threads(raw: Raw, fleet: Fleet) -> None:
    """Of a process; each of two processes has its own count."""
    publish(raw, *["ok"] * 100)
    fleet.finish(fleet.start("--threads", "4", "--processes", "2", "--max-messages", "10"))
    assert len(fleet.noted("began")) == books(raw).acknowledged == 20


def test_name_goes_before_the_names_of_consumers(raw: Raw, fleet: Fleet, tmp_path: Any) -> None:
    """They stay unique: two workers of one name, of two threads each, are four."""
    finish = tmp_path / "finish"
    workers = [fleet.start("--name", "box a", "--threads", "2") for _ in range(2)]
    wait_until(lambda: waiting_reads(raw) == 4)
    for count in range(1, 5):
        publish(raw, f"wait:{finish}")
        wait_until(lambda count=count: len(fleet.noted("began")) == count)
    names = {each["consumer"] for each in raw.xpending_range("orders", "billing", "-", "+", 10)}
    assert len(names) == 4
    assert all(each.startswith("box a-") for each in names)
    finish.touch()
    for each in workers:
        each.terminate()
        fleet.finish(each)


def test_the_exit_code_of_a_clean_end_is_0_and_of_any_other_isn_t(raw: Raw, fleet: Fleet) -> None:
    """A supervisor of services can tell."""
    refused = fleet.start("--processes", "0")
    drained = fleet.start("--drain")
    assert "expected a whole number" in fleet.finish(refused, code=2)
    assert "Stopped." in fleet.finish(drained, code=0)
    fleet.streams = {"orders": {"GROUPS": {"nobody": {}}}}
    assert "No group has a handler" in fleet.finish(fleet.start(), code=1)


@pytest.mark.parametrize(
    ("verbosity", "levels"),
    [("0", {"ERROR"}), ("1", {"ERROR", "WARNING"}), ("3", {"ERROR", "WARNING", "DEBUG"})],
)
def test_a_project_without_logging_sees_time_and_level(
    raw: Raw, fleet: Fleet, verbosity: str, levels: set[str]
) -> None:
    """Of each line of the log, from a level on that --verbosity tells."""
    for do in ("ok", "fail-once", "reject"):
        raw.xadd("orders", {"do": do})
    said = fleet.drain("--verbosity", verbosity)
    lines = re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) orders:billing", said, re.MULTILINE)
    assert set(lines) == levels
    assert len(re.findall(r"dead-lettered", said)) == 1


@pytest.mark.usefixtures("isolated_handlers")
def test_a_message_that_is_skipped_is_not_said_to_be_handled(
    raw: Raw, streams: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither is the other way round."""
    streams({"orders": {"GROUPS": {"billing": {"UNMATCHED": "skip"}}}})
    handler("orders", group="billing", type="a")(lambda _: None)
    handled, skipped = raw.xadd("orders", {"type": "a", "data": "1"}), raw.xadd("orders", {"type": "b", "data": "1"})
    with caplog.at_level(logging.DEBUG):
        drain()
    assert f"orders:billing handled 'orders/{handled}'" in caplog.messages
    assert f"orders:billing skipped 'orders/{skipped}', as no handler takes its type" in caplog.messages
