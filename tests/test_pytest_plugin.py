"""pytest's plugin: an option says which server each test has, and nothing else decides it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams import pytest_plugin
from django_redis_streams.testing.isolation import SERVERS

from .support.inner_pytest import surroundings

ROOT = Path(__file__).parent.parent

TESTS = """
import pytest
from django_redis_streams import conf, connections, publish
from django_redis_streams.testing import assert_published, published

@pytest.mark.parametrize("n", range(4))
def test_alone(n):
    publish("orders", n)
    assert_published("orders", count=1)
    assert connections.get().call("DBSIZE") == 1
    assert "fake" in repr(connections.get())

@pytest.mark.redis_streams("configured")
def test_configured():
    publish("orders", 1)
    assert_published("orders", count=1)
    assert "fake" not in repr(connections.get())
    assert conf.connection("default").key_prefix.startswith("test-")

@pytest.mark.redis_streams(server="off")
def test_off():
    assert conf.connection("default").key_prefix == ""
"""


def pytest_there(directory: Path, *arguments: str, plugins: tuple[str, ...] = ("pytest_django.plugin",)) -> str:
    """What pytest says of the tests in a directory of a project that has the plugin."""
    loaded = [*plugins, "django_redis_streams.pytest_plugin", "xdist.plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *(word for each in loaded for word in ("-p", each)), *arguments],
        cwd=directory,
        env=surroundings(
            PYTHONPATH=str(ROOT),
            **({"DJANGO_SETTINGS_MODULE": "testproject.settings"} if plugins else {}),
            SHOP_DIR=str(directory),
            REDIS_URL=os.environ.get("TEST_REDIS_URL", ""),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path, raw: Any) -> Path:
    """A directory with tests and an empty configured server; the configuration of pytest names no server."""
    raw.flushall()
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    (tmp_path / "test_some.py").write_text(TESTS)
    return tmp_path


def choose(project: Path, server: str) -> None:
    """Have the configuration name a server."""
    with (project / "pytest.ini").open("a") as ini:
        ini.write(f"redis_streams_server = {server}\n")


def test_the_plugin_knows_the_servers() -> None:
    """It can't import the list of them, which needs Django."""
    assert pytest_plugin._SERVERS == SERVERS


@pytest.mark.parametrize("arguments", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_each_test_is_isolated(raw: Any, project: Path, arguments: tuple[str, ...]) -> None:
    """On the server of the option, unless a marker chooses another; nothing is left on the configured one."""
    choose(project, "fake")
    said = pytest_there(project, *arguments)
    assert "6 passed" in said, said
    assert "redis_streams_server: fake" in said
    assert raw.keys() == []


@pytest.mark.slow
def test_the_command_line_goes_before_the_configuration(raw: Any, project: Path) -> None:
    """And a marker before both."""
    choose(project, "configured")
    assert "4 failed, 2 passed" in pytest_there(project)
    assert "6 passed" in pytest_there(project, "--redis-streams-server=fake")


def test_without_the_option_nothing_is_changed(raw: Any, project: Path) -> None:
    """Even where fakeredis is installed, tests publish where the settings say; the error says what to choose."""
    said = pytest_there(project)
    assert "4 failed, 2 passed" in said
    assert "Nothing is recorded here" in said
    assert "redis_streams_server = fake" in said
    assert "redis_streams_server:" not in said
    assert "orders" in raw.keys()  # noqa: SIM118  no dict


def test_a_server_that_there_is_not_is_refused(project: Path) -> None:
    """By the configuration, the command line and a marker alike, before a test has begun with another."""
    expected = "expected one of 'fake', 'embedded', 'configured', 'off'."
    (project / "test_some.py").write_text(
        "import pytest\n"
        "@pytest.mark.redis_streams('real')\ndef test_a(): ...\n"
        "@pytest.mark.redis_streams\ndef test_b(): ...\n"
        "@pytest.mark.redis_streams(kind='fake')\ndef test_c(): ...\n"
        "@pytest.mark.redis_streams('fake', 'off')\ndef test_d(): ...\n"
    )
    said = pytest_there(project)
    assert "4 errors" in said, said
    assert f"The marker redis_streams has 'real': {expected}" in said
    assert f"The marker redis_streams has no server: {expected}" in said
    assert "invalid choice: 'real'" in pytest_there(project, "--redis-streams-server=real")
    choose(project, "faek")
    assert f"ERROR: redis_streams_server = 'faek' in {project / 'pytest.ini'}: {expected}" in pytest_there(project)


def test_a_project_without_django_sees_nothing(tmp_path: Path) -> None:
    """The plugin is loaded wherever the package is installed."""
    (tmp_path / "test_some.py").write_text("import sys\ndef test_it():\n    assert 'django' not in sys.modules\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    said = pytest_there(tmp_path, plugins=())
    assert "1 passed" in said, said


@pytest.mark.slow
def test_the_shops_own_tests_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user runs them, whatever options the pytest has that runs this test."""
    monkeypatch.setenv("PYTEST_ADDOPTS", f"-o cache_dir={tmp_path} --last-failed")
    arguments = ["-c", str(ROOT / "testproject" / "pytest.ini"), "-p", "no:cacheprovider", str(ROOT / "testproject")]
    said = pytest_there(tmp_path, *arguments)
    assert "5 passed" in said, said
