"""What grows on a stream, and which groups keep it from being trimmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ..inspection import Books
from ..store.consume.books import DONE_BY_OTHERS
from .consuming import start_worker
from .findings import Code, Finding
from .gathering import GroupFacts, StreamFacts

__all__ = ["stream_findings"]

# Trimming removes blocks of some 100 entries, once a second: an excess of this many needs no finding.
_SLACK: Final = 1_000

Check = Callable[[StreamFacts], Iterator[Finding]]


def stream_findings(stream: StreamFacts) -> Iterator[Finding]:
    """Find what is wrong with one stream."""
    for check in _CHECKS:
        yield from check(stream)


def bounds(stream: StreamFacts) -> Iterator[Finding]:
    """Find a stream without a limit: it keeps all that was ever published."""
    if stream.config.hard_maxlen is not None:
        return
    if stream.config.maxlen is None and stream.config.max_age is None:
        yield Finding(
            code=Code.NO_LIMIT,
            subject=stream.config.name,
            message="The stream is never trimmed: it keeps what was handled, and the server's memory fills.",
            evidence=f"It has neither MAXLEN nor MAX_AGE, and holds {stream.state.length:,} entries.",
            fix=f"Set MAXLEN or MAX_AGE, and until then: manage.py streams trim {stream.config.name} --maxlen 10000.",
        )
    elif stream.state.length and not stream.state.group_names:
        yield Finding(
            code=Code.NEVER_TRIMMED,
            subject=stream.config.name,
            message="The stream isn't trimmed as long as it has no group: nobody can tell who is yet to come.",
            evidence=f"It holds {stream.state.length:,} entries, and the server knows no group of it.",
            fix="Start a worker (manage.py runconsumers), or declare a group in GROUPS.",
        )


def length(stream: StreamFacts) -> Iterator[Finding]:
    """Find a stream longer than MAXLEN: trimming keeps what a group still needs, however long the stream is."""
    if stream.config.maxlen is None or not stream.state.group_names:
        return
    most = stream.config.maxlen * len(stream.config.lane_names)
    if stream.state.length > most + max(_SLACK, most // 10):
        by = _holding(stream)
        yield Finding(
            code=Code.LONGER_THAN_MAXLEN,
            subject=stream.config.name,
            message=f"The stream isn't trimmed to its MAXLEN, {stream.config.maxlen:,}."
            + (f" It is held back by: {', '.join(by)}." if by else " No worker has trimmed it."),
            evidence=f"It holds {stream.state.length:,} entries"
            + (", and these groups have not read or not settled some." if by else ", which no group needs."),
            fix=" ".join(by.values())
            or f"Start a worker (manage.py runconsumers), or manage.py streams trim {stream.config.name}.",
        )


def hard_length(stream: StreamFacts) -> Iterator[Finding]:
    """Find a stream longer than HARD_MAXLEN: publishing removes whole nodes, which may be larger than the excess."""
    hard = stream.config.hard_maxlen
    if hard is None or stream.config.exact_trim:
        return
    most = hard * len(stream.config.lane_names)
    if stream.state.length > most + max(_SLACK, most // 10):
        yield Finding(
            code=Code.LONGER_THAN_HARD_MAXLEN,
            subject=stream.config.name,
            message=f"Publishing doesn't cut the stream to its HARD_MAXLEN, {hard:,}: the server's nodes are too "
            "large, or who publishes doesn't know HARD_MAXLEN.",
            evidence=f"It holds {stream.state.length:,} entries.",
            fix="Set EXACT_TRIM, or have the server make smaller nodes: CONFIG SET stream-node-max-entries 100. Deploy "
            "HARD_MAXLEN to all who publish.",
        )


def undeclared_groups(stream: StreamFacts) -> Iterator[Finding]:
    """Find groups that aren't declared: another program reads them, or nobody does since they were renamed."""
    for each in stream.undeclared_groups:
        label = f"{stream.config.name}:{each.group}"
        if each.group in stream.state.group_names:
            yield Finding(
                code=Code.UNDECLARED_GROUP,
                subject=label,
                message="The settings don't declare this group of the server; what it doesn't read can't be trimmed.",
                evidence=f"XINFO GROUPS names it: {_unread(each)} unread, {each.pending:,} pending.",
                fix=f"Declare it in GROUPS, or where nothing serves it: manage.py streams groups delete {label}.",
            )
        if each.retrying:
            yield Finding(
                code=Code.STRANDED_RETRIES,
                subject=label,
                message="Retries wait for a group that the settings don't declare: no worker here runs them.",
                evidence=f"Its retry set holds {each.retrying:,}.",
                fix="Declare the group again until they are run; or delete it with all that waits: "
                f"manage.py streams groups delete {label}.",
            )


def lanes(stream: StreamFacts) -> Iterator[Finding]:
    """Find messages that nobody reads, because LANES doesn't name their lane any more."""
    for lane, group, count in stream.left:
        yield Finding(
            code=Code.LEFT_IN_LANE,
            subject=f"{stream.config.name}:{group}",
            message=f"Messages wait in lane {lane!r}, which LANES doesn't name: no worker reads it.",
            evidence=f"Up to {count:,} entries there are unread or pending.",
            fix=f"Name {lane!r} in LANES again until it is empty.",
        )


def vanished(stream: StreamFacts) -> Iterator[Finding]:
    """Find lost messages: except for HARD_MAXLEN, this package removes nothing that a group still needs."""
    lost = {each.group: each.vanished for each in stream.books if each.vanished}
    if lost:
        yield Finding(
            code=Code.VANISHED,
            subject=stream.config.name,
            message="Messages were deleted before they were handled: they are lost.",
            evidence="Counted as vanished, since ever: "
            + ", ".join(f"{count:,} of {group}" for group, count in lost.items())
            + ".",
            fix="Let no other client use XTRIM, XDEL, or XADD with MAXLEN there: MAXLEN in the settings loses nothing."
            if stream.config.hard_maxlen is None
            else "HARD_MAXLEN drops what groups still need: raise it, or have them keep up.",
        )


def done_by_others(stream: StreamFacts) -> Iterator[Finding]:
    """Find changes by other clients. This package's own commands keep the books balanced; others' unbalance them."""
    for each in stream.books:
        if each.by_others:
            yield Finding(
                code=Code.DONE_BY_OTHERS,
                subject=f"{stream.config.name}:{each.group}",
                message="Others changed the group or its entries: messages were lost to it, or come again. "
                + " ".join(f"{name}: {DONE_BY_OTHERS[name]}." for name in each.by_others),
                evidence="Its books, since ever: "
                + ", ".join(f"{count:,} {name}" for name, count in each.by_others.items())
                + ".",
                fix="Let no other client change streams or groups; manage.py streams groups and trim do it on record. "
                "Docs: the books, in Guarantees.",
            )


def dead_letters(stream: StreamFacts) -> Iterator[Finding]:
    """Count dead letters: they are kept until somebody decides."""
    if stream.state.dead_letters:
        yield Finding(
            code=Code.DEAD_LETTERS,
            subject=stream.config.name,
            message="Dead letters wait for somebody to decide; until then they take memory.",
            evidence=f"The dead letter queue holds {stream.state.dead_letters:,}.",
            fix=f"manage.py deadletters list --stream {stream.config.name}; then replay or discard.",
        )


def overdue(stream: StreamFacts) -> Iterator[Finding]:
    """Find overdue messages: any worker of the stream promotes a due message within a second."""
    late = {f"retries of {each.config.name}": each.state.overdue for each in stream.groups if each.state.overdue}
    if stream.state.overdue:
        late["delayed messages"] = stream.state.overdue
    if late:
        told = ", ".join(f"{count:,} {what}" for what, count in late.items())
        yield Finding(
            code=Code.OVERDUE,
            subject=stream.config.name,
            message="Messages whose time has come don't reach their groups: no worker promotes them.",
            evidence=f"Due for half a minute or more: {told}.",
            fix=f"Start a worker (manage.py runconsumers {stream.config.name}); where one runs, its log says why.",
        )


def _holding(stream: StreamFacts) -> dict[str, str]:
    """Return the groups that keep the stream from being trimmed, each with what has it catch up.

    A declared group is never one to delete: its messages are yet to be run.
    """
    behind = [each for each in stream.groups if each.state.unread != 0 or each.state.pending]
    there = [each for each in stream.undeclared_groups if each.group in stream.state.group_names]
    return {each.config.name: _catch_up(each) for each in behind} | {
        each.group: f"Declare {each.group} in GROUPS, or where nothing serves it: "
        f"manage.py streams groups delete {stream.config.name}:{each.group}."
        for each in there
        if each.unread != 0 or each.pending
    }


def _catch_up(group: GroupFacts) -> str:
    if group.state.paused is not None:
        return f"Resume {group.config.name}: manage.py streams resume {group.label}."
    if group.alive:
        return f"Run more workers of {group.config.name}: manage.py runconsumers {group.label} --processes N."
    return f"{group.config.name} has no worker. {start_worker(group)}"


def _unread(each: Books) -> str:
    return "an unknown number" if each.unread is None else f"{each.unread:,}"


_CHECKS: Final[tuple[Check, ...]] = (
    overdue,
    undeclared_groups,
    lanes,
    bounds,
    length,
    hard_length,
    vanished,
    done_by_others,
    dead_letters,
)
