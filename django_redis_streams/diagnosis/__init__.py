"""What is wrong with streams, and what fixes it: "messages aren't consumed", "messages pile up", "memory grows".

`gathering` asks the servers and the settings once. Each theme (`clusters`, `servers`, `clocks`, `renaming`, `unsent`,
`growth`, `consuming`, `pace`) makes findings of these facts, by small checks that ask nothing; `remembering` and
`stranding` ask databases. Its checks stand in the order of the findings: a cause comes before its consequences.
`asking` asks the servers with a time limit, `findings` says what a finding is. Nothing here changes anything.

Two programs with one consumer name aren't found: the server keeps one consumer of that name, and no command tells
which connections read as it. Workers' names are unique for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from redis.exceptions import NoPermissionError

from .. import conf
from ..connections.refusals import OnOtherNode
from ..outbox.bounded import Asked
from .clocks import difference, future_ids, jumps, workers_differ
from .clusters import cluster_findings
from .consuming import consuming_findings
from .findings import Code, Finding, Level
from .gathering import Observed, StreamFacts, gather
from .growth import stream_findings
from .pace import pace_findings
from .remembering import Inboxes
from .renaming import after_renaming, renamed_groups, renamed_streams
from .servers import server_findings
from .stranding import Strandings
from .unsent import kept_meanwhile, outbox_findings

if TYPE_CHECKING:
    from ..outbox.figures import DatabaseFigures

__all__ = ["Code", "Finding", "Level", "diagnose"]

# In seconds, once the servers have answered.
_DATABASES_WITHIN: Final = 2
_ORDER: Final = list(Level)


def diagnose() -> Sequence[Finding]:
    """Return all findings, the worst first, and of one level a cause before its consequences.

    It takes twelve seconds at most, whatever the servers and databases do.

    Raises `ConfigurationError` for settings that can't work.
    """
    asked, strandings, inboxes = Asked(), Strandings(), Inboxes()  # the databases are asked while the servers are
    observed = gather()
    until = time.monotonic() + _DATABASES_WITHIN
    figures = asked.figures(_DATABASES_WITHIN)
    of_databases = [*strandings.findings(until), *inboxes.findings(until)]
    return sorted(_findings(observed, figures, of_databases), key=lambda each: _ORDER.index(each.level))


def _findings(
    observed: Observed, figures: Sequence[DatabaseFigures], of_databases: Sequence[Finding]
) -> Iterator[Finding]:
    yield from _declared()
    for server in observed.servers:
        yield from cluster_findings(server)
        yield from server_findings(server, kept_meanwhile(server.connection.alias, figures))
        yield from difference(server)
        yield from renamed_streams(server)
        yield from workers_differ(server)
    yield from outbox_findings(figures)
    yield from of_databases
    for name, error in observed.unreadable.items():
        yield _unreadable(name, error)
    for stream in observed.streams:
        yield from renamed_groups(stream)
        yield from after_renaming(stream, _of_stream(stream))


def _of_stream(stream: StreamFacts) -> Iterator[Finding]:
    yield from jumps(stream)
    yield from future_ids(stream)
    for group in stream.groups:
        yield from consuming_findings(group)
        yield from pace_findings(group)
    yield from stream_findings(stream)


def _declared() -> Iterator[Finding]:
    if not conf.get().streams:
        name = conf.misspelt()
        yield Finding(
            code=Code.NOTHING_DECLARED,
            subject="settings",
            message="No stream is declared: nothing can be published or consumed.",
            evidence=f"There is a setting {name}, and no REDIS_STREAMS." if name else "REDIS_STREAMS has no STREAMS.",
            fix="Declare streams and their groups in REDIS_STREAMS.",
        )


def _unreadable(stream: str, error: Exception) -> Finding:
    if isinstance(error, NoPermissionError) or "NOPERM" in str(error) or "permission" in str(error):
        return Finding(
            code=Code.UNASKED,
            subject=stream,
            message="The stream can't be looked at: the server doesn't allow it. Nothing is known of its groups.",
            evidence=str(error),
            fix="Allow the user of the connection what the error names, as its workers need it.",
        )
    if isinstance(error, OnOtherNode):
        return Finding(
            code=Code.UNREADABLE,
            subject=stream,
            message="The stream is on another node of a cluster: nothing can be published or consumed there.",
            evidence=str(error),
            fix="Let URL begin with redis+cluster:// or rediss+cluster://. It may name the same host.",
        )
    return Finding(
        code=Code.UNREADABLE,
        subject=stream,
        message="The stream can't be read.",
        evidence=str(error),
        fix="Where a key holds something else, rename the stream or DEAD_LETTER_STREAM, or set KEY_PREFIX.",
    )
