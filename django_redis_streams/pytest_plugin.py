"""The plugin that pytest finds by itself: each test has a server and a prefix of its own.

Imports no Django: pytest imports it before a project's settings are known, in projects without Django too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec

import pytest

__all__ = ["redis_streams_server"]

_MARKER = "redis_streams(server): the server that this test's streams are on: 'fake', 'embedded', 'configured' or 'off'"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option of the project's pytest configuration."""
    parser.addini(
        "redis_streams_server", "the server of the tests' streams: fake, embedded, configured or off", default=""
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def redis_streams_server(request: pytest.FixtureRequest) -> str:
    """The server of this test: its marker's, else the option's, else a fake where one is installed, else none.

    Override it in a conftest.py or a module to choose for all tests there.
    """
    marker = request.node.get_closest_marker("redis_streams")
    if marker is not None:
        return str((*marker.args, *marker.kwargs.values())[0])
    chosen = str(request.config.getini("redis_streams_server"))
    return chosen or ("fake" if find_spec("fakeredis") and find_spec("lupa") else "off")


@pytest.fixture(autouse=True)
def _redis_streams(request: pytest.FixtureRequest) -> Iterator[None]:
    with _isolated(request) if _app_is_installed() else nullcontext():
        yield


def _app_is_installed() -> bool:
    """Whether this is a project of Django's that has the app. Asks only what has been imported already."""
    module = sys.modules.get("django.apps")
    return module is not None and module.apps.ready and module.apps.is_installed("django_redis_streams")


def _isolated(request: pytest.FixtureRequest) -> AbstractContextManager[None]:
    # Django is there by now, and only now.
    from .testing import isolated  # noqa: PLC0415

    return isolated(request.getfixturevalue("redis_streams_server"))
