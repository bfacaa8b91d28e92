"""Checks of handlers with `once`: whether the inbox is there, and remembers for long enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core import checks

from .. import conf, handlers
from ..exceptions import ConfigurationError
from ..handlers import Handler
from ..inbox.presence import HOW_TO_INSTALL, LABEL, TABLE, is_installed, table_is_missing
from ..querying import has_table, how_to_make
from ..retry import longest_retry
from .settings import TAG, check_settings, when_settings_are_sound

__all__ = ["check_inbox", "check_inbox_tables"]


@when_settings_are_sound
def check_inbox() -> Iterator[checks.CheckMessage]:
    """E018 and E019. No database is asked."""
    for handler in _with_once():
        if not is_installed():
            yield checks.Error(
                f"{handler.name} has once={handler.atomic!r}, and the app of the inbox isn't installed.",
                hint=f"Do this: {HOW_TO_INSTALL}",
                obj=f"{handler.stream}:{handler.group}",
                id=f"{TAG}.E018",
            )
        yield from _retention(handler)


def check_inbox_tables(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """E018, for `check --deploy --database`. Not for `migrate`, which checks before it makes the table."""
    if not databases or not is_installed() or any(each.is_serious() for each in check_settings()):
        return []
    return list(_tables(set(databases)))


def _tables(asked: set[str]) -> Iterator[checks.CheckMessage]:
    for alias in sorted({each.atomic for each in _with_once() if each.atomic} & asked):
        if not has_table(alias, TABLE):
            yield checks.Error(table_is_missing(alias), hint=how_to_make(LABEL, alias), id=f"{TAG}.E018")


def _with_once() -> Sequence[Handler]:
    try:
        return [each for each in handlers.registered() if each.once]
    except ConfigurationError:  # E014 tells of it
        return []


def _retention(handler: Handler) -> Iterator[checks.CheckMessage]:
    stream = conf.get().streams.get(handler.stream)
    group = stream.groups.get(handler.group) if stream else None
    if group is None:  # E010 tells of it
        return
    timeout = group.timeout if handler.timeout is None else handler.timeout
    longest = longest_retry(handler.policy(group), (timeout or 0.0) + group.claim_idle)
    if group.inbox_retention < longest:
        yield checks.Error(
            f"{handler.stream}:{handler.group} has an INBOX_RETENTION of {group.inbox_retention:,.0f} seconds, but a "
            f"message of {handler.name} may come again for {longest:,.0f} seconds by its retries: then its effect "
            "would happen twice.",
            hint=f"Set INBOX_RETENTION to {longest:.0f} at least, or have it retried for a shorter time.",
            obj=f"{handler.stream}:{handler.group}",
            id=f"{TAG}.E019",
        )
