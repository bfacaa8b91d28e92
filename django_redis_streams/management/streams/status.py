"""`manage.py streams status`: the state of every stream and group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.core.management.base import CommandParser

from ... import conf, connections, inspection
from ...inspection import Activities, GroupActivity, GroupState, StreamContents, StreamState, visible
from ...outbox.bounded import Asked
from ...outbox.presence import declared
from ..subcommands import Result, Subcommand
from ..tables import ago, amount, size, table

__all__ = ["STATUS"]

_STREAM: Final = ("stream", "length", "memory", "oldest", "newest", "rate/s", "delayed", "dead", "undeclared groups")
_GROUP: Final = (
    "group", "lag", "oldest unread", "pending", "oldest pending", "retrying", "dead", "repeated", "consumers",
    "rate/s", "failures/h", "paused",
)  # fmt: skip
_HOUR: Final = 60
# Puts a terminal's cursor at the top of an empty screen.
_CLEAR: Final = "\x1b[H\x1b[2J"
# In seconds, for the databases.
_DATABASES_WITHIN: Final = 2
# Seconds between two looks.
_EACH: Final = 2.0


def _add_arguments(parser: CommandParser) -> None:
    parser.add_argument("streams", nargs="*", metavar="stream", help="Which streams (default: all).")
    parser.add_argument("--watch", action="store_true", help="Show it anew each two seconds, until Ctrl-C.")


def _run(options: Mapping[str, Any]) -> Result:
    return Result(as_json=None, lines=_watched(options), follows=True) if options["watch"] else _seen(options)


def _watched(options: Mapping[str, Any]) -> Iterator[str]:
    while True:
        with connections.hurried():  # a server that doesn't answer is asked again at the next look
            seen = _seen(options).written(as_json=options["json"])
        if not options["json"]:
            clear = _CLEAR if options["terminal"] else ""
            yield f"{clear}{datetime.now():%H:%M:%S}, again each {_EACH:g} s until Ctrl-C"  # noqa: DTZ005  as a clock shows it
        yield from seen
        time.sleep(_EACH)


def _seen(options: Mapping[str, Any]) -> Result:
    names = [conf.stream(name).name for name in options["streams"]]
    asked = Asked()
    seen = inspection.overview(*names)
    held, problems = inspection.stream_contents(*names)
    done = inspection.activity(*names, minutes=_HOUR)
    contents = {each.name: each for each in held}
    states = [each for each in seen.streams if each.name in contents]
    found = [_as_json(each, contents[each.name], done) for each in states]
    failed = {each.stream: str(each.error) for each in (*seen.problems, *problems, *done.problems)}
    unsent, unread = _unsent(asked, names)
    failed |= unread
    return Result(
        as_json={"streams": found, "unsent": unsent, "problems": failed},
        lines=list(_lines(found, unsent, failed)),
        code=1 if failed else 0,
    )


def _unsent(asked: Asked, names: Sequence[str]) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, str]]:
    """Return what waits in outboxes, where anything does; and the problems of databases, where a stream needs them."""
    found, failed = [], {}
    for database in asked.figures(_DATABASES_WITHIN):
        if database.problem is not None and declared():
            failed[f"database {database.database!r}"] = str(database.problem)
        for rows in database.streams.values():
            if rows.unsent and (not names or rows.stream in names):
                told = {name: getattr(rows, name) for name in ("stream", "unsent", "oldest", "overdue", "refused")}
                found.append({"database": database.database, **told})
    return found, failed


def _as_json(state: StreamState, held: StreamContents, done: Activities) -> Mapping[str, Any]:
    return {
        "stream": state.name,
        "length": state.length,
        "memory": held.memory,
        "first": held.first,
        "first_age": held.first_age,
        "last": held.last,
        "last_age": held.last_age,
        "rate": held.rate,
        "delayed": state.delayed,
        "dead_letters": state.dead_letters,
        "undeclared_groups": state.undeclared_groups,
        "groups": [_group(each, done.of(state.name, each.name)) for each in state.groups],
    }


def _group(group: GroupState, activity: GroupActivity | None) -> Mapping[str, Any]:
    hour = activity.last(_HOUR) if activity else None
    ever = group.totals
    gone = ever.get("replayed", 0) + ever.get("discarded-dead-letters", 0)
    return {
        "group": group.name,
        "lag": group.unread,
        "oldest_unread": group.oldest_unread,
        "pending": group.pending,
        "oldest_pending": group.oldest_pending,
        "retrying": group.retrying,
        "dead_letters": max(0, ever.get("dead-lettered", 0) - gone),
        "repeated": ever.get("repeated", 0),
        "consumers": group.consumers,
        "rate": hour and hour.rate,
        "failures": hour and hour.failures,
        "paused": group.paused and group.paused.isoformat(),
    }


def _lines(
    streams: Sequence[Mapping[str, Any]], unsent: Sequence[Mapping[str, Any]], problems: Mapping[str, str]
) -> Iterator[str]:
    yield from table(_STREAM, (_stream_cells(each) for each in streams))
    yield ""
    yield from table(_GROUP, (_group_cells(each["stream"], group) for each in streams for group in each["groups"]))
    for each in unsent:
        yield visible(
            f"{each['stream']}: {amount(each['unsent'])} unsent in the outbox of database {each['database']!r}, "
            f"the oldest {ago(each['oldest'])} old, {amount(each['refused'])} refused"
        )
    yield from (f"{stream}: {error}" for stream, error in problems.items())


def _stream_cells(stream: Mapping[str, Any]) -> Sequence[str]:
    return (
        stream["stream"], amount(stream["length"]), size(stream["memory"]),
        _ago(stream["first_age"]) if stream["first"] else "-", _ago(stream["last_age"]) if stream["last"] else "-",
        amount(stream["rate"] if stream["rate"] is None else round(stream["rate"], 2)), amount(stream["delayed"]),
        amount(stream["dead_letters"]), amount(stream["undeclared_groups"]),
    )  # fmt: skip


def _group_cells(stream: str, group: Mapping[str, Any]) -> Sequence[str]:
    return (
        f"{stream}:{group['group']}", amount(group["lag"]), _ago(group["oldest_unread"]), amount(group["pending"]),
        _ago(group["oldest_pending"]), amount(group["retrying"]), amount(group["dead_letters"]),
        amount(group["repeated"]), amount(group["consumers"]),
        amount(round(group["rate"] or 0, 2)), amount(group["failures"] or 0), group["paused"] or "-",
    )  # fmt: skip


def _ago(age: float | None) -> str:
    """Return the age of an entry as people read it; that of an id in the future is unknown."""
    return "unknown" if age is None else ago(age)


STATUS: Final = Subcommand(
    name="status",
    help="Shows every stream and group at a glance.",
    add_arguments=_add_arguments,
    run=_run,
)
