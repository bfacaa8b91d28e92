"""Checks of the servers, for `check --deploy`: where messages aren't safe with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.core import checks
from redis.exceptions import ResponseError

from .. import conf
from ..connections import Link
from ..diagnosis.asking import ask_all
from ..exceptions import ConfigurationError, ServerUnreachable
from ..store.observe.server import Facts, facts
from .settings import TAG, when_settings_are_sound

__all__ = ["check_servers"]

_OLDEST: Final = (6, 2)

Answer = Facts | ServerUnreachable | ConfigurationError | ResponseError


@when_settings_are_sound
def check_servers() -> Iterator[checks.CheckMessage]:
    """E030, W030 to W034. Asks all servers at once, and waits for none for long."""
    declared = conf.get().connections
    asked = ask_all([alias for alias, each in declared.items() if not _embedded(each.url)], _facts_of)
    for alias, each in declared.items():
        if _embedded(each.url):
            yield checks.Error(
                f"Connection {alias!r} is embedded://, a server for development.",
                hint="In production set its URL to a server of its own, such as redis://host:6379/0.",
                id=f"{TAG}.E030",
            )
        else:
            yield from _judged(alias, asked[alias])


def _facts_of(_: str, link: Link) -> Facts:
    return facts(link)


def _embedded(url: str) -> bool:
    return url.startswith("embedded:")


def _judged(alias: str, answer: Answer) -> Iterator[checks.CheckMessage]:
    where = f"The server of connection {alias!r}"
    if isinstance(answer, (ServerUnreachable, ConfigurationError)):
        yield checks.Warning(str(answer), hint="Nothing can be published or consumed there now.", id=f"{TAG}.W030")
    elif isinstance(answer, ResponseError):
        yield checks.Warning(
            f"{where} doesn't let us ask for its version, eviction policy and append-only file: {answer}",
            hint="Allow the command INFO, or look yourself, and silence this.",
            id=f"{TAG}.W031",
        )
    else:
        yield from _facts(where, answer)


def _facts(where: str, found: Facts) -> Iterator[checks.CheckMessage]:
    if None in (found.version, found.eviction, found.append_only):
        yield checks.Warning(
            f"{where} doesn't tell all of its version, eviction policy and append-only file.",
            hint="Look yourself, and silence this.",
            id=f"{TAG}.W031",
        )
    if found.version is not None and found.version < _OLDEST:
        yield checks.Warning(
            f"{where} is of version {'.'.join(map(str, found.version))}.",
            hint="Redis 6.2 is the oldest that has the commands which consumers need.",
            id=f"{TAG}.W032",
        )
    if found.eviction not in (None, "noeviction"):
        yield checks.Warning(
            f"{where} has maxmemory-policy {found.eviction!r}: with its memory full it may delete whole streams.",
            hint="Set maxmemory-policy to noeviction; a cache belongs on another server.",
            id=f"{TAG}.W033",
        )
    if found.append_only is False:
        yield checks.Warning(
            f"{where} keeps no append-only file: a restart loses what was published since its last snapshot.",
            hint="Set appendonly to yes.",
            id=f"{TAG}.W034",
        )
