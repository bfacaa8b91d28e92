"""Whether messages that are committed reach the server: the rows of the outbox."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from .. import conf
from ..outbox.presence import APP, LABEL, declared, is_installed
from ..querying import how_to_make
from .findings import Code, Finding

if TYPE_CHECKING:
    from ..outbox.figures import DatabaseFigures, StreamFigures

__all__ = ["kept_meanwhile", "outbox_findings", "would_keep"]

# In seconds. The relay looks far more often, and tries at least once a minute what was refused.
_STALLED: Final = 60


def outbox_findings(figures: Sequence[DatabaseFigures]) -> Iterator[Finding]:
    """Find what keeps messages in the outbox."""
    streams = declared()
    if streams and not is_installed():
        yield Finding(
            code=Code.OUTBOX_MISSING,
            subject="settings",
            message="Messages are to go through the outbox, and there is none.",
            evidence=f"OUTBOX is set for {', '.join(streams)}, and INSTALLED_APPS has no {APP!r}.",
            fix=f"Add {APP!r} to INSTALLED_APPS, and migrate.",
        )
    for database in figures:
        if database.problem is None:
            for stream in database.streams.values():
                yield from _of_stream(database.database, stream)
        elif streams:  # else nobody needs it
            yield _of_problem(database.database, database.problem, streams)


def kept_meanwhile(connection: str, figures: Sequence[DatabaseFigures]) -> str:
    """Say what the outbox keeps for the streams of a connection whose server is away; "" where it keeps nothing."""
    streams = _with_outbox(connection)
    known = [each for each in figures if each.problem is None]
    if not streams or not known:
        return ""
    unsent = {
        each.database: sum(each.streams[name].unsent for name in streams if name in each.streams) for each in known
    }
    waiting = " and ".join(f"{count:,} unsent in {database!r}" for database, count in unsent.items())
    return f" The outbox keeps what is published to {', '.join(streams)}: {waiting}."


def would_keep(connection: str) -> str:
    """Say as much as the settings alone tell of it; "" where no stream of the connection has an outbox."""
    streams = _with_outbox(connection)
    if not streams or not is_installed():
        return ""
    return f" The outbox keeps what is published to {', '.join(streams)}, where its database has the table."


def _with_outbox(connection: str) -> Sequence[str]:
    return [name for name in conf.get().streams_of(connection) if name in declared()]


def _of_problem(database: str, problem: Exception, streams: Sequence[str]) -> Finding:
    # The models of an app that isn't installed can't be imported; here it is.
    from ..outbox.databases import TableMissing  # noqa: PLC0415

    if isinstance(problem, TableMissing):
        return Finding(
            code=Code.OUTBOX_MISSING,
            subject=f"database {database!r}",
            message=f"Nothing can be published to {', '.join(streams)} in its transactions: the outbox has no table.",
            evidence=str(problem),
            fix=how_to_make(LABEL, database),
        )
    return Finding(
        code=Code.OUTBOX_UNASKED,
        subject=f"database {database!r}",
        message="The outbox can't be looked at: nobody knows whether messages wait in it.",
        evidence=str(problem),
        fix="Start the database, or mend what the error names.",
    )


def _of_stream(database: str, rows: StreamFigures) -> Iterator[Finding]:
    if rows.stream not in conf.get().streams:
        if rows.unsent:
            yield Finding(
                code=Code.OUTBOX_UNDECLARED,
                subject=rows.stream,
                message="Messages wait in the outbox for a stream that isn't declared here: nobody sends them.",
                evidence=_count(database, rows, f"the oldest {rows.oldest:,.0f} s old"),
                fix="Deploy the settings that declare the stream to workers, or `streams outbox discard`.",
            )
        return
    if rows.late > _STALLED:
        yield Finding(
            code=Code.OUTBOX_STALLED,
            subject=rows.stream,
            message="Messages are committed and not sent: no relay works them off.",
            evidence=_count(database, rows, f"{rows.overdue:,} overdue, the first for {rows.late:,.0f} s"),
            fix=(
                "Start a worker, or `streams outbox relay`. Where one runs, its log says what keeps it. If it says "
                "nothing, another project at this server may have a database of the same ENGINE, HOST, PORT and NAME: "
                "one of the two needs others."
            ),
        )
    if rows.refused:
        yield Finding(
            code=Code.OUTBOX_REFUSED,
            subject=rows.stream,
            message="The server refuses messages of the outbox, or can't be reached. They are tried again.",
            evidence=f"{_count(database, rows, f'{rows.refused:,} refused')} The last error: {rows.error}",
            fix="Mend what the error names; what can never be sent, `streams outbox discard`.",
        )


def _count(database: str, rows: StreamFigures, more: str) -> str:
    return f"The database {database!r} holds {rows.unsent:,} unsent, {more}."
