"""Checks of the databases that handlers work with, for `check --deploy`. No database is asked."""

from __future__ import annotations

from collections.abc import Iterator

from django.core import checks

from ..worker.execution.sqlite import hasty_databases
from .settings import TAG, when_settings_are_sound

__all__ = ["check_databases"]


@when_settings_are_sound
def check_databases() -> Iterator[checks.CheckMessage]:
    """W012. `runconsumers` warns too when it starts; in other commands of a new project it would be noise."""
    for what, fix in hasty_databases():
        yield checks.Warning(what, hint=fix, id=f"{TAG}.W012")
