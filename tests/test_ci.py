"""What .ci/steps makes of tests that fail, and what such a test leaves."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .support.inner_pytest import surroundings

ROOT = Path(__file__).parent.parent
Done = subprocess.CompletedProcess[str]
CI = Callable[..., Done]

FLAKY = """
    def test_flaky():
        first = not Path("ran").exists()
        Path("ran").touch()
        assert not first
"""
BROKEN = """
    def test_broken():
        Path("broken").open("a").write("again ")
        assert False
"""
STEADY = """
    def test_steady():
        Path("steady").open("x")
"""
LOGGED = """
from hypothesis import given, strategies

def test_passes(server):
    pass

def test_fails(make_server, server):
    make_server()
    assert False

@given(strategies.integers())
def test_finds(n):
    assert n < 100
"""
# Notes each call, makes venvs that have it again, and fails where an argument contains FAILING.
PYTHON = """#!/bin/bash
echo "${TEST_SERVER-} $*" >>"$WORK/calls"
if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi
if [ "${3-}" = list ]; then echo "redis 6.0"; fi
case "$*" in *"$FAILING"*) exit 1 ;; esac
"""


@pytest.fixture
def ci(tmp_path: Path) -> CI:
    """What a run says whose one step is these tests, in a directory of their own; `by` runs pytest."""

    def run(*tests: str, by: str = "rerun_once") -> Done:
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        body = "".join(f"{each}\n" for each in tests)
        (tmp_path / "test_some.py").write_text(f"from pathlib import Path\nif True:\n{body}")
        pytest_there = f"bash -c 'cd {tmp_path} && {sys.executable} -m pytest -q'"
        program = f"set -euo pipefail; source .ci/steps; step some {by} {pytest_there}; closing_line"
        return subprocess.run(
            ["bash", "-c", program],
            cwd=ROOT,
            env=surroundings(WORK=str(tmp_path)),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_what_fails_once_is_told_and_fails_nothing(ci: CI) -> None:
    """It is run again by itself, and counts once."""
    done = ci(FLAKY, STEADY)
    assert done.returncode == 0, done.stdout
    assert "=== flaked: test_some.py::test_flaky\n" in done.stdout
    said = done.stdout.split("=== some: exit code 0")[1]
    assert "passed when run once more:\n=== flaked: test_some.py::test_flaky\n" in said
    assert said.endswith("\n2 passed, 0 failed\n")


def test_what_fails_twice_fails_the_run(ci: CI, tmp_path: Path) -> None:
    """Beside one that failed by chance too."""
    done = ci(FLAKY, BROKEN, STEADY)
    assert done.returncode == 1
    assert "=== flaked: test_some.py::test_flaky\n" in done.stdout
    assert "=== failed twice: test_some.py::test_broken\n" in done.stdout
    assert done.stdout.endswith("\n2 passed, 1 failed\n")
    assert (tmp_path / "broken").read_text() == "again again "


def test_without_a_second_run_what_fails_once_fails_the_run(ci: CI) -> None:
    """So it is where messages are at stake."""
    done = ci(FLAKY, STEADY, by="")
    assert done.returncode == 1
    assert "once more" not in done.stdout
    assert done.stdout.endswith("\n1 passed, 1 failed\n")


def test_only_what_runs_beside_foreign_programs_is_run_again() -> None:
    """The steps of .ci/run that give a test a second run are those of the browser, Prometheus and ioredis."""
    steps, run = (ROOT / ".ci/steps").read_text(), (ROOT / ".ci/run").read_text()
    assert re.findall(r"^(\w+)\(\) \{\n(?:    .*\n)*    rerun_once ", steps, re.MULTILINE) == ["none_skipped"]
    assert "rerun_once" not in run
    again = re.findall(r'^step "([^"]+)" +none_skipped (.+)$', run, re.MULTILINE)
    assert [name for name, _ in again] == ["a replay in the browser", "a scrape by Prometheus", "ioredis"]
    foreign = re.search(r"^WITHOUT_FOREIGN=\((.+)\)$", steps, re.MULTILINE)[1]
    assert all(word in foreign for word in ("not browser", "tests/test_prometheus.py", "tests/interop"))
    assert 'pytest --quiet "${WITHOUT_FOREIGN[@]}"' in steps
    assert all(re.search(r"-m browser|tests/test_prometheus\.py|make interop", command) for _, command in again)


@pytest.mark.parametrize(("failing", "code"), [("not slow", 1), ("test_incidents.py", 1), ("nothing", 0)])
def test_each_server_s_step_runs_the_incidents(tmp_path: Path, failing: str, code: int) -> None:
    """Even after a failure of the other tests; a failure of either fails the step."""
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"source .ci/steps; queue_tests redis-7.0 ~=6.0 {python} 6.0"],
        cwd=ROOT,
        env=surroundings(WORK=str(tmp_path), FAILING=failing),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    calls = [each for each in (tmp_path / "calls").read_text().splitlines() if "-m pytest" in each]
    assert len(calls) == 2
    assert all(each.startswith("redis-7.0 ") for each in calls)
    assert "not slow" in calls[0]
    assert calls[1].endswith(" tests/test_incidents.py")
    assert "not slow" not in calls[1]


def test_a_failure_shows_the_server_s_log_and_what_repeats_it(tmp_path: Path) -> None:
    """The last lines of each server that runs, and hypothesis' blob."""
    (tmp_path / "test_some.py").write_text(LOGGED)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "pytest_django.plugin", "-p", "tests.conftest"],
        cwd=tmp_path,
        env=surroundings(PYTHONPATH=str(ROOT), DJANGO_SETTINGS_MODULE="tests.settings"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("- log of ") == 3  # the run's server twice, and the further one of one test
    assert "eady to accept connections" in done.stdout
    assert "@reproduce_failure(" in done.stdout


def test_what_cannot_be_run_fails_the_run(ci: CI) -> None:
    """Tests that can't be imported, or that end pytest itself."""
    unimportable = ci("    import no_such_module")
    assert (unimportable.returncode, unimportable.stdout[-19:]) == (1, "0 passed, 1 failed\n")
    ended = ci("    def test_some():\n        __import__('os')._exit(1)")
    assert (ended.returncode, ended.stdout[-19:]) == (1, "0 passed, 1 failed\n")
    assert "once more" not in ended.stdout


def test_what_passes_is_run_once(ci: CI) -> None:
    """And nothing is said of a second run."""
    done = ci(STEADY)
    assert done.returncode == 0
    assert "once more" not in done.stdout
    assert done.stdout.endswith("\n1 passed, 0 failed\n")


def test_each_step_s_seconds_are_listed_at_the_end(ci: CI) -> None:
    """A line for each step, and one for all."""
    listed = ci(STEADY).stdout.split("=== How long each step took:\n")[1].splitlines()
    assert [line.split(" s  ")[1] for line in listed[:2]] == ["some", "all"]
