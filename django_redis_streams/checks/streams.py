"""Checks of the streams that are declared, for `check --deploy`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from django.core import checks

from .. import conf
from ..diagnosis import Code
from ..diagnosis.gathering import gather
from ..diagnosis.renaming import renamed_groups, renamed_streams
from .servers import text_of
from .settings import TAG, when_settings_are_sound

__all__ = ["check_renaming", "check_streams"]

_RENAMED: Final[Mapping[Code, str]] = {
    Code.GROUP_RENAMED: "W036",
    Code.STREAM_RENAMED: "W037",
}


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


@when_settings_are_sound
def check_renaming() -> Iterator[checks.CheckMessage]:
    """W036, W037. Before a deployment is the time to tell: its workers would run a renamed group's history again."""
    observed = gather(embedded=False)
    found = [each for stream in observed.streams for each in renamed_groups(stream)]
    found += [each for server in observed.servers for each in renamed_streams(server)]
    for each in found:
        if each.code in _RENAMED:
            yield checks.Warning(text_of(each), hint=each.fix, id=f"{TAG}.{_RENAMED[each.code]}")
