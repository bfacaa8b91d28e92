"""Checks of the servers, for `check --deploy`: the doctor's findings about servers that aren't safe for messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from django.core import checks
from django.utils.text import capfirst

from .. import conf
from ..connections import Link
from ..diagnosis import Code, Finding
from ..diagnosis.asking import ask_all
from ..diagnosis.gathering import ServerFacts, is_embedded
from ..diagnosis.servers import development, server_findings
from ..store.observe.server import Facts, facts
from .settings import TAG, when_settings_are_sound

__all__ = ["check_servers", "text_of"]

# The findings that are also checks; the doctor has more.
_WARNINGS: Final[Mapping[Code, str]] = {
    Code.UNREACHABLE: "W030",
    Code.UNASKED: "W031",
    Code.OLD_SERVER: "W032",
    Code.EVICTED: "W033",
    Code.EVICTS: "W033",
    Code.NO_APPEND_ONLY_FILE: "W034",
    Code.CLUSTER: "W035",
}


@when_settings_are_sound
def check_servers() -> Iterator[checks.CheckMessage]:
    """E030, W030 to W035. Asks all servers at once, with a time limit."""
    declared = conf.get().connections
    answers = ask_all([alias for alias, each in declared.items() if not is_embedded(each)], _facts)
    for alias, connection in declared.items():
        if is_embedded(connection):
            # Asking it would start it.
            for finding in development(connection):
                yield checks.Error(capfirst(text_of(finding)), hint=finding.fix, id=f"{TAG}.E030")
            continue
        for finding in server_findings(ServerFacts(connection=connection, told=answers[alias])):
            if finding.code in _WARNINGS:
                text, number = capfirst(text_of(finding)), _WARNINGS[finding.code]
                yield checks.Warning(text, hint=finding.fix, id=f"{TAG}.{number}")


def _facts(_: str, link: Link) -> Facts:
    return facts(link)


def text_of(finding: Finding) -> str:
    """Return a finding as the text of a check."""
    return f"{finding.subject}: {finding.message} {finding.evidence}"
