"""Checks of the streams that are declared, for `check --deploy`."""

from __future__ import annotations

from collections.abc import Iterator

from django.core import checks

from .. import conf
from .settings import TAG, when_settings_are_sound

__all__ = ["check_streams"]


@when_settings_are_sound
def check_streams() -> Iterator[checks.CheckMessage]:
    """W013. In development, where a stream stays small, it would be noise. No server is asked."""
    for stream in conf.get().streams.values():
        if stream.maxlen is None and stream.max_age is None and stream.hard_maxlen is None:
            yield checks.Warning(
                f"Stream {stream.name!r} is never trimmed: it keeps all that was ever published, and the server's "
                "memory fills.",
                hint="Set its MAXLEN or MAX_AGE; neither drops what a group still needs.",
                id=f"{TAG}.W013",
            )
