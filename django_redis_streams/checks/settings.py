"""Checks of `REDIS_STREAMS` itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning

from .. import conf, connections
from ..exceptions import ConfigurationError

__all__ = ["TAG", "check_settings", "when_settings_are_sound"]

TAG: Final = "django_redis_streams"

Check = Callable[..., list[CheckMessage]]


def check_settings(**_: Any) -> list[CheckMessage]:
    """E001 to E007, W001."""
    found = [Error(problem.message, hint=problem.hint or None, id=f"{TAG}.{problem.id}") for problem in conf.problems()]
    return [*found, *_connections(), *_misspelt()]


def when_settings_are_sound(check: Callable[[], Iterable[CheckMessage]]) -> Check:
    """Return a check that reports nothing as long as `check_settings` reports something."""

    def checked(**_: Any) -> list[CheckMessage]:
        return [] if any(each.is_serious() for each in check_settings()) else list(check())

    return checked


def _connections() -> Iterator[CheckMessage]:
    """Check where each connection leads, without connecting."""
    if conf.problems():
        return
    for alias in conf.get().connections:
        try:
            connections.address(alias)
        except ConfigurationError as error:
            yield Error(str(error), id=f"{TAG}.E007")


def _misspelt() -> Iterator[CheckMessage]:
    if name := conf.misspelt():
        yield CheckWarning(
            f"The settings have {name} and no REDIS_STREAMS: no stream is declared.",
            hint="Rename it to REDIS_STREAMS. Silence this where it is another package's.",
            id=f"{TAG}.W001",
        )
