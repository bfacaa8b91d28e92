"""Checks of the servers, for `check --deploy`: what the doctor finds of servers, and of what was renamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from django.core import checks

from .. import conf
from ..diagnosis import Code, Finding
from ..diagnosis.gathering import Observed, gather, is_embedded
from ..diagnosis.renaming import renamed_groups, renamed_streams
from ..diagnosis.servers import development, server_findings
from .settings import TAG, when_settings_are_sound

__all__ = ["check_servers"]

# The findings that are also checks; the doctor has more.
_WARNINGS: Final[Mapping[Code, str]] = {
    Code.UNREACHABLE: "W030",
    Code.UNASKED: "W031",
    Code.OLD_SERVER: "W032",
    Code.EVICTED: "W033",
    Code.EVICTS: "W033",
    Code.NO_APPEND_ONLY_FILE: "W034",
    Code.CLUSTER: "W035",
    # Before a deployment is the time to tell: its workers would run a renamed group's history again.
    Code.GROUP_RENAMED: "W036",
    Code.STREAM_RENAMED: "W037",
}


@when_settings_are_sound
def check_servers() -> Iterator[checks.CheckMessage]:
    """E030, W030 to W037. Asks all servers at once, with a time limit."""
    for connection in conf.get().connections.values():
        if is_embedded(connection):
            # Asking it would start it.
            for finding in development(connection):
                yield checks.Error(_text(finding), hint=finding.fix, id=f"{TAG}.E030")
    for finding in _findings(gather(embedded=False)):
        if finding.code in _WARNINGS:
            yield checks.Warning(_text(finding), hint=finding.fix, id=f"{TAG}.{_WARNINGS[finding.code]}")


def _findings(observed: Observed) -> Iterator[Finding]:
    for server in observed.servers:
        yield from server_findings(server)
    for stream in observed.streams:
        yield from renamed_groups(stream)
    for server in observed.servers:
        yield from renamed_streams(server)


def _text(finding: Finding) -> str:
    subject = finding.subject
    return f"{subject[:1].upper()}{subject[1:]}: {finding.message} {finding.evidence}"
