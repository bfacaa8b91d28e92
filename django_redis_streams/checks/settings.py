"""Checks of `REDIS_STREAMS` itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from django.core.checks import CheckMessage, Error

from .. import conf, connections
from ..exceptions import ConfigurationError

__all__ = ["TAG", "check_settings", "when_settings_are_sound"]

TAG: Final = "django_redis_streams"

Check = Callable[..., list[CheckMessage]]


def check_settings(**_: Any) -> list[CheckMessage]:
    """E001 to E007."""
    found = [Error(problem.message, hint=problem.hint or None, id=f"{TAG}.{problem.id}") for problem in conf.problems()]
    return [*found, *_connections()]


def when_settings_are_sound(check: Callable[[], Iterable[CheckMessage]]) -> Check:
    """Return a check that says nothing as long as `check_settings` says something."""

    def checked(**_: Any) -> list[CheckMessage]:
        return [] if check_settings() else list(check())

    return checked


def _connections() -> Iterator[CheckMessage]:
    """Where each connection would lead, without going there."""
    if conf.problems():
        return
    for alias in conf.get().connections:
        try:
            connections.address(alias)
        except ConfigurationError as error:
            yield Error(str(error), id=f"{TAG}.E007")
