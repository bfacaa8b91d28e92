"""What ends a worker at its start: settings that can't work are told once, and not tried again and again."""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_redis_streams import conf, embedded
from django_redis_streams.exceptions import ConfigurationError
from django_redis_streams.handlers import handler
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.worker.options import Options, memberships
from django_redis_streams.worker.process import work
from django_redis_streams.worker.services.maintenance import Maintenance
from django_redis_streams.worker.services.promoter import Promoter
from django_redis_streams.worker.services.statistics import Statistics
from django_redis_streams.worker.shared.scoreboard import Scoreboard
from django_redis_streams.worker.supervisor.child import Orphans
from django_redis_streams.worker.supervisor.rescuer import renew_for, rescue_all
from django_redis_streams.worker.supervisor.rescues import Rescues

from .support.books import totals
from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import Fleet, assigned

ELSEWHERE = {"orders": {"GROUPS": {"billing": {"BACKOFF": (0.01, 0.02), "MAX_CRASHES": 1}}}}


def run_process(**options: Any) -> tuple[int, Scoreboard]:
    """One process of a worker, in this one's main thread, until its end; its exit code."""
    group = conf.stream("orders"), conf.group("orders", "billing")
    assignment = assigned(Options(groups=(group,), **options))
    return work(assignment), assignment.scoreboard


@pytest.fixture
def place(tmp_path: Path) -> str:
    """The URL of an embedded server that can't be: only who connects finds out."""
    (tmp_path / "file").write_text("")
    return f"embedded://{tmp_path}/file"


@pytest.mark.parametrize("url", ["embedded://", "rediss://localhost?ssl_cert_reqs=CERT_NONE", "redis://localhost:0"])
@pytest.mark.usefixtures("isolated_handlers")
def test_settings_that_cannot_work_start_no_process(streams: Any, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The command ends with the sentence of what is wrong."""
    monkeypatch.setattr(embedded.server.metadata, "files", lambda _: [])
    embedded.server.program.cache_clear()
    handler("orders", group="billing")(lambda _: None)
    streams(URL=url)
    with pytest.raises(CommandError) as caught:
        call_command("runconsumers")
    assert isinstance(caught.value.__cause__, ConfigurationError)
    assert caught.value.returncode == 1


def test_what_only_a_process_finds_ends_the_command_too(fleet: Fleet, place: str) -> None:
    """Once, with its sentence and without a traceback; nothing is started again."""
    fleet.url = place
    began = time.monotonic()
    said = fleet.finish(fleet.start("--processes", "2"), code=1)
    lines = said.strip().splitlines()
    assert lines[-1].startswith("CommandError: The embedded server can't keep its data in ")
    assert "it isn't a directory" in lines[-1]
    assert "Traceback" not in said
    assert "Another starts" not in said
    assert time.monotonic() - began < 25


@pytest.mark.slow
def test_a_worker_that_gives_up_hands_back_what_it_holds(fleet: Fleet, raw: Any, tmp_path: Path) -> None:
    """A group on another server finishes what it runs; nothing of it is lost, and nobody waits for CLAIM_IDLE."""
    finish = tmp_path / "finish"
    for do in (f"wait:{finish}", "ok"):
        raw.xadd("orders", {"do": do})
    worker = fleet.start(TEST_HANDLERS="tests.support.misconfigured_handlers", TEST_UNTIL=str(finish))
    wait_until(lambda: fleet.noted("began"))
    finish.touch()
    said = fleet.finish(worker, code=1)
    assert "CommandError: told to give up" in said
    assert "Traceback" not in said
    assert totals(raw)["acknowledged"] >= 1
    assert raw.xpending("orders", "billing")["pending"] + totals(raw)["acknowledged"] == 2
    fleet.drain()
    assert totals(raw) == {"acknowledged": 2}


@pytest.mark.usefixtures("isolated_handlers", "streams", "db")
def test_an_unforeseen_error_is_told_with_one_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All threads may fail of it: each says so in a line, and the process ends, to be started again ever later."""
    handler("orders", group="billing")(lambda _: None)

    def fail(*_: object) -> None:
        raise LookupError("unforeseen")

    for service in (Maintenance, Promoter, Statistics):
        monkeypatch.setattr(service, "step", fail)
    code, scoreboard = run_process()
    assert (code, scoreboard.given_up) == (1, "")
    told = [each for each in caplog.records if each.levelno == logging.CRITICAL]
    assert len(told) == 3
    assert [bool(each.exc_info) for each in told].count(True) == 1
    assert all("'unforeseen'" in each.getMessage() for each in told)


@pytest.mark.usefixtures("isolated_handlers", "streams")
def test_handlers_that_clash_are_told_to_the_supervisor() -> None:
    """A process that is made of what can't work gives up, as one that finds it out later."""
    for _ in range(2):
        handler("orders", group="billing", type="order.created")(lambda _: None)
    code, scoreboard = run_process()
    assert code == 1
    assert "both take the type 'order.created'" in scoreboard.given_up


def test_a_rescuer_does_not_try_again_what_cannot_work(streams: Any, place: str) -> None:
    """What can't be connected to holds nothing that it could hand back."""
    streams(URL=place)
    worker_options = Options(groups=((conf.stream("orders"), conf.group("orders", "billing")),))
    orphans = [Orphans(each, 1) for each in memberships(worker_options, 1, "tested")]
    assert rescue_all(orphans, os.getppid()) == 0
    assert not Rescues().any


def test_each_refusal_to_renew_for_a_silent_process_is_logged(
    server: Server, streams: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The process that renews ends at once: it has no later moment at which to log what is left."""
    declared = {"orders": {"GROUPS": {"billing": {}, "loyalty": {}}}}
    streams(declared, URL=server.user("worker", "secret", "+@all", "-xpending", "~*", "&*"))
    stream = conf.stream("orders")
    assert renew_for([Membership(stream, group, "tested") for group in stream.groups.values()]) == 1
    server.raw().execute_command("ACL", "DELUSER", "worker")
    said = [each.getMessage() for each in caplog.records if "of another process yet" in each.getMessage()]
    assert len(said) == 2


def test_a_sentence_is_kept_as_far_as_there_is_room() -> None:
    """It may be of many settings, and in any language."""
    scoreboard = Scoreboard([])
    assert scoreboard.given_up == ""
    scoreboard.give_up("é" * 10_000)
    assert set(scoreboard.given_up) == {"é"}
    assert len(scoreboard.given_up) > 1_000


def test_a_system_without_what_only_linux_has_runs_a_worker(fleet: Fleet, raw: Any) -> None:
    """What macOS lacks, too: with a retry, and a message that ends its process."""
    for do in ("ok", "fail-once", "die"):
        raw.xadd("orders", {"do": do})
    environment = {"DJANGO_SETTINGS_MODULE": "tests.support.elsewhere_settings", "TEST_STREAMS": json.dumps(ELSEWHERE)}
    fleet.drain("--max-memory", "1G", **environment)
    assert totals(raw) == {"acknowledged": 2, "retried": 1, "dead-lettered": 1}
