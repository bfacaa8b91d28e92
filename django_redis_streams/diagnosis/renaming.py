"""Whether a group or a stream was renamed: the server knows it by its old name alone, and what waits there with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..inspection.undeclared import UndeclaredStream
from ..keys import EntryId
from ..operations.groups import Waiting
from .findings import Code, Finding
from .gathering import GroupFacts, ServerFacts, StreamFacts, subject_of

__all__ = ["after_renaming", "renamed_groups", "renamed_streams"]

_BEGINNING = EntryId(0, 0)


def renamed_groups(stream: StreamFacts) -> Iterator[Finding]:
    """Find declared groups that are about to begin anew beside an undeclared one that workers once served."""
    for old, new in _renamings(stream):
        yield _renamed(stream, old, new, stream.abandoned[old], stream.positions[old])


def after_renaming(stream: StreamFacts, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield findings of a stream; what fixes one of a renamed group, by its old name or its new one, comes second.

    To start a worker of the new group, or to delete the old one with its position, would make the renaming worse.
    """
    groups = {label for old, new in _renamings(stream) for label in (f"{stream.config.name}:{old}", new.label)}
    for each in findings:
        first = "First do what group-renamed says of it. Then: " if each.subject in groups else ""
        yield replace(each, fix=f"{first}{each.fix}")


def renamed_streams(server: ServerFacts) -> Iterator[Finding]:
    """Find streams that no setting declares, that nobody reads, and that aren't empty."""
    if isinstance(server.undeclared, Exception):
        yield _not_searched(server, f"SCAN was answered by: {server.undeclared}")
    elif server.undeclared is not None:
        for stream in server.undeclared.streams:
            if not stream.consumed and _holds_anything(stream):
                yield _stranded(server, stream)
        if server.undeclared.left_out:
            yield _not_searched(server, " ".join(server.undeclared.left_out))


def _renamings(stream: StreamFacts) -> Iterator[tuple[str, GroupFacts]]:
    """Yield the old name and the new group of each renaming that may have been."""
    for old in stream.abandoned:
        if stream.positions.get(old, _BEGINNING) > _BEGINNING:
            yield from ((old, new) for new in stream.groups if _is_new(stream, new))


def _is_new(stream: StreamFacts, group: GroupFacts) -> bool:
    """Return whether the group was never given anything: the server doesn't know it, or has it at the beginning."""
    if group.config.name not in stream.state.group_names:
        return not group.state.totals and group.state.deletion is None
    return stream.positions.get(group.config.name) == _BEGINNING and not group.state.totals


def _renamed(stream: StreamFacts, old: str, new: GroupFacts, waits: Waiting, position: EntryId) -> Finding:
    missing = new.config.name not in stream.state.group_names
    begins = f"at START {new.config.start!r}" if missing else "at the beginning"
    return Finding(
        code=Code.GROUP_RENAMED,
        subject=new.label,
        message=f"Was group {old!r} renamed to {new.config.name!r}? The new group begins {begins}, not where the old "
        "one is: it would run again what was handled, or skip what wasn't.",
        evidence=f"Workers once served {old}, which the settings don't declare. It was given all up to {position}; "
        f"pending: {waits.pending:,}; waiting for a retry: {waits.retrying:,}; to be redelivered: "
        f"{waits.redelivered:,}. {new.config.name} was given nothing yet.",
        fix=_move(f"{stream.config.name}:{old}", new.label, waits, position, make=missing),
    )


def _move(old: str, new: str, waits: Waiting, position: EntryId, *, make: bool) -> str:
    """Return how the new group goes on where the old one is; first, the old one must have settled what it was given."""
    if waits.consumers:
        return (
            f"If so, stop the consumers of {old} ({', '.join(waits.consumers)}), and ask the doctor again half a "
            "minute later. Start no worker of the new group before."
        )
    if waits.pending or waits.retrying or waits.redelivered:
        return (
            f"If so, let {old} settle what it was given, with the release that declares it: manage.py runconsumers "
            f"{old} --drain. Then ask the doctor again. Start no worker of the new group before."
        )
    verb = "create" if make else "reset"
    return (
        f"If so, before a worker of the new group starts: manage.py streams groups {verb} {new} --start {position}; "
        f"then manage.py streams groups delete {old}. If not: only the second, if nothing serves it. Docs: Renaming."
    )


def _holds_anything(stream: UndeclaredStream) -> bool:
    return bool(stream.length or stream.delayed or stream.dead_letters or any(stream.groups.values()))


def _stranded(server: ServerFacts, stream: UndeclaredStream) -> Finding:
    groups = "".join(
        f" {'An unknown number of' if count is None else f'{count:,}'} messages wait for group {name}."
        for name, count in stream.groups.items()
        if count != 0
    )
    return Finding(
        code=Code.STREAM_RENAMED,
        subject=stream.name,
        message="No setting declares this stream, and nobody reads it. Was it renamed, or moved to another connection? "
        "What it holds waits there.",
        evidence=f"On {subject_of(server.connection)} it holds {stream.length:,} entries, {stream.delayed:,} delayed "
        f"messages and {stream.dead_letters:,} dead letters.{groups}",
        fix=f"Declare {stream.name!r} again beside the new stream, with its groups and handlers, until nothing waits: "
        f"manage.py runconsumers {stream.name}; manage.py deadletters list --stream {stream.name}. Where it is another "
        "project's, let it be. A project that has published nothing yet can have a KEY_PREFIX. Docs: Renaming.",
    )


def _not_searched(server: ServerFacts, evidence: str) -> Finding:
    return Finding(
        code=Code.NOT_SEARCHED,
        subject=subject_of(server.connection),
        message="Not all of the server was searched for streams that no setting declares, as after a renaming.",
        evidence=evidence,
        fix="Allow the user of the connection SCAN and what the error names; or look yourself: redis-cli --scan "
        "--pattern '{*}:groups'.",
    )
