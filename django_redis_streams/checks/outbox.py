"""Checks of the outbox: that its app is there, and its table."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.core import checks

from .. import conf
from ..outbox.presence import APP, LABEL, TABLE, declared, is_installed
from ..querying import has_table, how_to_make
from .settings import TAG, when_settings_are_sound

__all__ = ["check_outbox", "check_outbox_tables"]


@when_settings_are_sound
def check_outbox() -> Iterator[checks.CheckMessage]:
    """E016."""
    if not is_installed():
        for stream in conf.get().streams.values():
            if stream.outbox is not None:
                yield checks.Error(
                    f"REDIS_STREAMS['STREAMS'][{stream.name!r}] has the 'OUTBOX' {stream.outbox!r}, but {APP!r} isn't "
                    "in INSTALLED_APPS.",
                    hint="Add it there and run `manage.py migrate`, or remove OUTBOX.",
                    id=f"{TAG}.E016",
                )


def check_outbox_tables(*, databases: Collection[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """E017. Asks the named databases alone, and no database that a router keeps the app from."""
    return when_settings_are_sound(lambda: _tables(databases or ()))()


def _tables(databases: Collection[str]) -> Iterator[checks.CheckMessage]:
    if not is_installed() or not declared():
        return
    # The model can't be imported where its app isn't installed.
    from ..outbox.databases import aliases  # noqa: PLC0415

    for alias in aliases():
        if alias in databases and not has_table(alias, TABLE):
            yield checks.Error(
                f"Database {alias!r} has no table {TABLE!r}, in which the outbox keeps "
                f"what is published in its transactions.",
                hint=how_to_make(LABEL, alias),
                id=f"{TAG}.E017",
            )
