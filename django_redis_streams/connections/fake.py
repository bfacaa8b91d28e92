"""A server in the test's own memory: fakeredis, with what the scripts need beside it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from importlib.util import find_spec
from typing import Any

from ..conf import ConnectionConfig
from ..exceptions import ExtraMissing
from .arguments import FIXED_OPTIONS
from .endpoint import Endpoint
from .link import OpenLink

__all__ = ["fake_servers", "is_installed"]


def is_installed() -> bool:
    """Return whether fakeredis is here, and the Lua that it runs scripts with."""
    return find_spec("fakeredis") is not None and find_spec("lupa") is not None


def fake_servers() -> Callable[[ConnectionConfig], Endpoint]:
    """Return a function that leads each connection to an empty server of its own. Raises `ExtraMissing`."""
    if not is_installed():
        raise ExtraMissing(
            'A fake server needs fakeredis and lupa: pip install "django-redis-streams[testing]". Or choose '
            "server='embedded' or 'configured'."
        )
    # An extra, imported when first needed.
    from fakeredis import FakeRedisConnection, FakeServer  # noqa: PLC0415

    made: dict[str, Endpoint] = {}

    def lead(config: ConnectionConfig) -> Endpoint:
        if config.alias not in made:
            arguments: dict[str, Any] = {**FIXED_OPTIONS, "server": FakeServer(version=(7, 4))}
            made[config.alias] = Endpoint(config.alias, f"fake://{config.alias}", FakeRedisConnection, arguments)
            _teach(made[config.alias])
        return made[config.alias]

    return lead


def _teach(endpoint: Endpoint) -> None:
    """Give the server's Lua the library that fakeredis leaves out; it stays as long as the server."""
    link = OpenLink(endpoint, timeout=5)
    link.connect()
    link.call("EVAL", resources.files(__package__).joinpath("fake.lua").read_text("utf-8"), 0)
    link.close()
