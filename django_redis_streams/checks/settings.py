"""Checks of `REDIS_STREAMS` itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning

from .. import conf, connections
from ..exceptions import ConfigurationError
from ..publishing.outboxes import LEASE

__all__ = ["TAG", "check_settings", "when_settings_are_sound"]

TAG: Final = "django_redis_streams"

Check = Callable[..., list[CheckMessage]]


def check_settings(**_: Any) -> list[CheckMessage]:
    """E001 to E009, W001, W002."""
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
        else:
            yield from _waits(alias, connections.reply_timeout(alias))
            yield from _outlasts(alias, connections.connect_timeout(alias), connections.reply_timeout(alias))


def _waits(alias: str, timeout: float | None) -> Iterator[CheckMessage]:
    """Find streams whose publishing waits for replicas for longer than for any reply: it would lose that one."""
    for stream in conf.get().streams_of(alias).values():
        if stream.min_replicas is not None and timeout is not None and stream.replica_timeout >= timeout:
            yield Error(
                f"Stream {stream.name!r} has the REPLICA_TIMEOUT {stream.replica_timeout:g} s, and its connection "
                f"{alias!r} waits for a reply for {timeout:g} s.",
                hint="Lower REPLICA_TIMEOUT, or raise socket_timeout in OPTIONS of the connection.",
                id=f"{TAG}.E008",
            )


def _outlasts(alias: str, *limits: float | None) -> Iterator[CheckMessage]:
    """Find streams whose rows a relay may send while their publisher, which begins by half the lease, still does."""
    streams = [each.name for each in conf.get().streams_of(alias).values() if each.outbox == "always"]
    seconds = sum(each or 0 for each in limits)
    if streams and (None in limits or seconds >= LEASE / 2):
        yield CheckWarning(
            f"Connection {alias!r} waits {'without end' if None in limits else f'up to {seconds:g} s'} to connect and "
            f"for a reply. After {LEASE / 2:g} s the relay may send what is still being sent, of streams with the "
            f"OUTBOX 'always': {', '.join(map(repr, sorted(streams)))}. So messages may come twice.",
            hint=f"Lower socket_connect_timeout and socket_timeout in OPTIONS of the connection, together to less than "
            f"{LEASE / 2:g} s.",
            id=f"{TAG}.W002",
        )


def _misspelt() -> Iterator[CheckMessage]:
    if name := conf.misspelt():
        yield CheckWarning(
            f"The settings have {name} and no REDIS_STREAMS: no stream is declared.",
            hint="Rename it to REDIS_STREAMS. Silence this where it is another package's.",
            id=f"{TAG}.W001",
        )
