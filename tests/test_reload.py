"""`runconsumers --reload`: changed code is tried, then the worker drains and begins anew with it."""

import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path

import pytest
from django.utils.autoreload import StatReloader

from django_redis_streams.worker.supervisor import autoreload

from .support import states
from .support.books import totals
from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import ROOT, Fleet

CODE = """
from django_redis_streams import handler


@handler("tasks", group="nobody")
def work(message):
    with open({path!r}, "a") as file:
        file.write({version!r})
"""
BROKEN = """
open({path!r} + ".tried", "w").close()
raise RuntimeError("this can't be loaded")
"""


@pytest.fixture
def project(server: Server, tmp_path: Path):
    """A worker with --reload, of a project with a module of handlers that is written by its version."""
    server.raw().flushall()
    written = tmp_path / "written"
    module = tmp_path / "reloaded.py"

    def write(version: str, code: str = CODE) -> None:
        before = module.stat().st_mtime if module.exists() else 0
        module.write_text(code.format(path=str(written), version=version))
        # Where the file system's clock is coarse, a second change within its tick would look like none. Not earlier
        # than now: a worker that was slow to start would take it for one that it has loaded.
        changed = max(time.time(), before + 2)
        os.utime(module, (changed, changed) if before else None)

    write("a")
    fleet = Fleet(tmp_path, server.url, {"tasks": {"GROUPS": {"nobody": {}}}})
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    process = fleet.start("--reload", "tasks", PYTHONPATH=path, TEST_HANDLERS="reloaded")
    yield written, write, fleet, process
    fleet.end()


def handled(raw, written: Path) -> str:
    """Which versions have handled messages, one more of which is published now."""
    before = totals(raw, "nobody", "tasks").get("acknowledged", 0)
    states.publish(raw, {"n": "1"}, stream="tasks")
    wait_until(lambda: totals(raw, "nobody", "tasks").get("acknowledged", 0) == before + 1)
    return written.read_text()


def test_a_change_just_before_the_first_look_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No change falls between what is looked for at the beginning and what is noticed later."""
    module = tmp_path / "changed.py"
    module.touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setitem(sys.modules, "changed", import_module("changed"))
    since = time.time()

    class Reloader(StatReloader):
        """Looks at last after a change, and then three times."""

        SLEEP_TIME = 0

        def tick(self) -> Iterator[None]:
            os.utime(module, (since + 1, since + 1))
            return islice(super().tick(), 3)

    monkeypatch.setattr(autoreload.autoreload, "get_reloader", Reloader)
    assert autoreload._watch(os.getppid(), since) == autoreload._CHANGED


def is_trial(pid: int) -> bool:
    """Whether this is the interpreter that tries changed code, and hasn't ended."""
    try:
        return b"check" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


@pytest.mark.slow
def test_changed_code_is_loaded_and_broken_code_is_not(raw, project) -> None:
    """The worker goes on with what it has until what was written can be loaded."""
    written, write, fleet, process = project
    assert handled(raw, written) == "a"
    write("b", BROKEN)
    wait_until(written.with_name("written.tried").exists)
    # A trial imports once more what it couldn't import.
    wait_until(lambda: not any(is_trial(each) for each in fleet.children(process)))
    assert handled(raw, written) == "aa"
    write("b")
    wait_until(lambda: handled(raw, written)[-1] == "b")
    process.terminate()
    said = fleet.finish(process)
    assert "can't be loaded" in said
    assert said.count("Consuming tasks:nobody") == 2
