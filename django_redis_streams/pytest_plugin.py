"""The plugin that pytest finds by itself: with the option `redis_streams_server` each test has a server of its own.

It does nothing unless it is asked to, and imports no Django until then: pytest imports it before a project's settings
are known, in projects without Django too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

__all__ = ["redis_streams_server"]

_OPTION: Final = "redis_streams_server"
# The servers of `testing.isolation`, which needs Django.
_SERVERS: Final = ("fake", "embedded", "configured", "off")
_EXPECTED: Final = f"expected one of {', '.join(map(repr, _SERVERS))}"
_MARKER: Final = f"redis_streams(server): the server that this test's streams are on, {_EXPECTED}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option of the configuration and that of the command line."""
    about = "the server that the tests' streams are on"
    parser.addini(_OPTION, f"{about}: {', '.join(_SERVERS)}", default="off")
    parser.getgroup("redis streams").addoption(
        "--redis-streams-server", choices=_SERVERS, help=f"{about}; goes before the ini option"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker. Raises `UsageError` where the option of the configuration names no server."""
    config.addinivalue_line("markers", _MARKER)
    if config.getini(_OPTION) not in _SERVERS:
        raise pytest.UsageError(f"{_OPTION} = {config.getini(_OPTION)!r} in {config.inipath}: {_EXPECTED}.")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Tell which server the tests have."""
    return None if _chosen(config) == "off" else f"{_OPTION}: {_chosen(config)}"


def _chosen(config: pytest.Config) -> str:
    """Return what the command line says, else what the configuration says."""
    return str(config.getoption(_OPTION) or config.getini(_OPTION))


@pytest.fixture
def redis_streams_server(request: pytest.FixtureRequest) -> str:
    """Return the server of this test: its marker's, else the command line's, else the configuration's, else "off".

    Override it in a conftest.py or a module to choose for all tests there.
    """
    marker = request.node.get_closest_marker("redis_streams")
    if marker is None:
        return _chosen(request.config)
    named = [*marker.args, *marker.kwargs.values()]
    if len(named) != 1 or named[0] not in _SERVERS or not {*marker.kwargs} <= {"server"}:
        raise pytest.UsageError(
            f"The marker redis_streams has {', '.join(map(repr, named)) or 'no server'}: {_EXPECTED}."
        )
    return str(named[0])


@pytest.fixture(autouse=True)
def _redis_streams(redis_streams_server: str) -> Iterator[None]:
    if redis_streams_server == "off":
        yield
        return
    # Django is there by now, and only now.
    from .testing import isolated  # noqa: PLC0415

    with isolated(redis_streams_server):
        yield
