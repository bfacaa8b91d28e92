"""Checks of the servers, for `check --deploy`: what the doctor finds of servers, and of what was renamed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from django.core import checks
from django.utils.text import capfirst

from .. import conf
from ..diagnosis import Code, Finding
from ..diagnosis.clusters import cluster_findings
from ..diagnosis.gathering import gather, is_embedded
from ..diagnosis.renaming import renamed_groups, renamed_streams
from ..diagnosis.servers import development, server_findings
from ..diagnosis.unsent import would_keep
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
    Code.TOO_FEW_REPLICAS: "W038",
    Code.REPLICAS_NOT_REQUIRED: "W039",
    Code.REPLICA_BEHIND: "W040",
    Code.CLUSTER_DOWN: "W041",
    Code.SLOTS_MISSING: "W042",
    Code.MASTER_ALONE: "W043",
}


@when_settings_are_sound
def check_servers() -> Iterator[checks.CheckMessage]:
    """E030, W030 to W043. Asks all servers at once, with a time limit."""
    for connection in conf.get().connections.values():
        if is_embedded(connection):
            # Asking it would start it.
            for finding in development(connection):
                yield checks.Error(capfirst(_text(finding)), hint=finding.fix, id=f"{TAG}.E030")
    observed = gather(embedded=False)
    for server in observed.servers:
        # A subject is "connection 'default'" here, else the name of a stream or group.
        yield from _warnings(cluster_findings(server), capfirst)
        yield from _warnings(server_findings(server, would_keep(server.connection.alias)), capfirst)
    for stream in observed.streams:
        yield from _warnings(renamed_groups(stream))
    for server in observed.servers:
        yield from _warnings(renamed_streams(server))


def _warnings(findings: Iterable[Finding], shown: Callable[[str], str] = str) -> Iterator[checks.CheckMessage]:
    for each in findings:
        if each.code in _WARNINGS:
            yield checks.Warning(shown(_text(each)), hint=each.fix, id=f"{TAG}.{_WARNINGS[each.code]}")


def _text(finding: Finding) -> str:
    return f"{finding.subject}: {finding.message} {finding.evidence}"
