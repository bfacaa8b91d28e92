"""`manage.py streams outbox list`, `relay` and `discard`: messages that are committed and not on the server yet."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError, CommandParser

from ... import conf, connections
from ...inspection import visible
from ...outbox.presence import APP, LABEL, TABLE, is_installed
from ...querying import has_table, how_to_make
from ...worker.services.relaying import relayed_connections, relays
from ...worker.system.os_signals import Signals
from ...worker.timing import DEFAULT_TIMING
from ..arguments import count
from ..options import add_by, add_dry_run, add_no_input, by, confirmed, undone
from ..subcommands import Result, Subcommand
from ..tables import ago, amount, table

if TYPE_CHECKING:
    from ...outbox.listing import UnsentMessage

__all__ = ["DISCARD_OUTBOX", "LIST_OUTBOX", "RELAY_OUTBOX"]

_HEAD: Final = ("id", "message", "stream", "lane", "key", "age", "state", "attempts", "next try", "error")
_LIMIT: Final = 100
# In seconds: how often a relay at most says what it has sent.
_SAYS_EACH: Final = 5.0


def _add_database(parser: CommandParser) -> None:
    parser.add_argument("--database", default=None, metavar="ALIAS", help="Of this database (default: of all).")


def _add_list(parser: CommandParser) -> None:
    parser.add_argument("--stream", default=None, help="Of this stream, declared or not.")
    _add_database(parser)
    parser.add_argument("--refused", action="store_true", help="Only those that were refused at least once.")
    parser.add_argument("--limit", type=count, default=_LIMIT, help=f"So many a database (default: {_LIMIT}).")


def _add_relay(parser: CommandParser) -> None:
    parser.add_argument("--once", action="store_true", help="Send what is due, then end.")


def _add_discard(parser: CommandParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="id", help="Ids of rows or of messages, as `list` tells them.")
    parser.add_argument("--stream", default=None, help="All of this stream, declared or not.")
    parser.add_argument("--all", action="store_true", help="All there are.")
    _add_database(parser)
    add_dry_run(parser)
    add_no_input(parser)
    add_by(parser)


def _list(options: Mapping[str, Any]) -> Result:
    rows = [row for using in _databases(options) for row in _listed(using, options)]
    lines = table(_HEAD, map(_cells, rows)) if rows else [_nothing(options)]
    return Result(as_json={"outbox": [_as_json(row) for row in rows]}, lines=lines)


def _nothing(options: Mapping[str, Any]) -> str:
    """Return the line that says that there is none of what is asked for."""
    if not any(options.get(each) for each in ("ids", "stream", "database", "refused")):
        return "Nothing is unsent."
    return f"No unsent message fits{_undeclared(options)}."


def _undeclared(options: Mapping[str, Any]) -> str:
    """Return, to be appended, that the settings don't declare the stream that is asked for; "" where they do."""
    name = options["stream"]
    if name is None or name in conf.usable().streams:
        return ""
    return f" (the settings declare no stream {conf.shown(name)})"


def _listed(using: str, options: Mapping[str, Any]) -> Iterator[UnsentMessage]:
    """Yield the oldest of the wanted rows of a database. Raises `OutboxUnavailable`."""
    listing, left, after = _app().listing, options["limit"], None
    wanted = {"stream": options["stream"], "standing": "refused" if options["refused"] else None}
    while left:
        page = listing.list_unsent(database=using, **wanted, after=after, count=left, bodies=False)
        for problem in page.problems:
            raise problem.error
        yield from page.rows
        left, after = left - len(page.rows), page.next
        if after is None:
            return


def _relay(options: Mapping[str, Any]) -> Result:
    _app()
    if options["once"]:
        return _once(options)
    # One that is away is waited for, as a worker does.
    with suppress(_app().databases.OutboxUnavailable):
        _databases(options)
    return Result(as_json=None, lines=_until_stopped(as_json=options["json"]), follows=True)


def _once(options: Mapping[str, Any]) -> Result:
    """Send what is due of all databases to all connections, and say what is left."""
    outbox, databases = _app(), _databases(options)
    sent = refused = 0
    elsewhere = []
    for using in databases:
        for alias in relayed_connections():
            one, link = outbox.relay.Relay(using, alias), connections.get(alias)
            try:
                with outbox.databases.asking(using):
                    step = one.step(link)
                    if not step.held:
                        elsewhere.append({"database": using, "connection": alias})
                        continue
                    while step.more or step.sent:
                        sent, refused = sent + step.sent, refused + step.refused
                        step = one.step(link)
                    refused += step.refused
            finally:
                one.let_go(link)
    left = sum(map(outbox.actions.stuck, databases))
    lines = [f"{amount(sent)} sent, {amount(refused)} refused, {amount(left)} left."]
    lines += [
        f"Another process relays database {each['database']!r} to connection {each['connection']!r}."
        for each in elsewhere
    ]
    as_json = {"sent": sent, "refused": refused, "left": left, "relayed_elsewhere": elsewhere}
    return Result(as_json=as_json, lines=lines, code=1 if left else 0)


def _until_stopped(*, as_json: bool) -> Iterator[str]:
    stop = threading.Event()
    services = relays(stop, DEFAULT_TIMING)
    threads = [threading.Thread(target=each.run, daemon=True) for each in services]
    with Signals(signal.SIGTERM, signal.SIGINT) as signals:
        if not as_json:
            yield f"Relays to {', '.join(repr(each.alias) for each in services) or 'nothing'}. Ctrl-C ends it."
        for each in threads:
            each.start()
        told, due = 0, time.monotonic() + _SAYS_EACH
        try:
            while not signals.wait(0.2):
                if not all(each.is_alive() for each in threads):
                    raise CommandError("The relay has failed; see the log.")
                sent = sum(each.sent for each in services)
                if sent > told and time.monotonic() >= due and not as_json:
                    yield f"{amount(sent - told)} sent."
                    told, due = sent, time.monotonic() + _SAYS_EACH
        finally:
            # At its end each lets go of its leases, so that another process relays at once.
            stop.set()
            for each in threads:
                each.join(5)
        if not as_json:
            yield f"Stopped. {amount(sum(each.sent for each in services))} sent in all."


def _discard(options: Mapping[str, Any]) -> Result:
    actions = _app().actions
    if bool(options["ids"]) + bool(options["stream"]) + options["all"] != 1:
        raise CommandError("Name ids, or give --stream or --all: one of the three.", returncode=2)
    databases = _databases(options)
    _check_numbers(databases, options)
    found = {using: _found(using, options) for using in databases}
    missing = [
        each for each in dict.fromkeys(options["ids"]) if not any(actions.find(it, ids=[each]) for it in databases)
    ]
    number = sum(map(len, found.values()))
    what = f"{amount(number)} unsent message{'s' * (number != 1)} would be deleted for good: no group gets them."
    what = what if number else _nothing(options)
    if options["dry_run"] or (number and not options["ids"] and not confirmed(what, options)):
        result, line = undone(what, "discard", options)
        return Result(as_json={"would_be_discarded": number, "result": result}, lines=[line])
    done = sum(len(actions.discard(using, ids, by=by(options))) for using, ids in found.items())
    left = number - done
    lines = [f"{amount(done)} discarded."] if done else [] if missing or left else [what]
    lines += [f"Not among the unsent messages: {', '.join(map(visible, missing))}."] if missing else []
    lines += [f"{amount(left)} left as they are: they are just being sent, or were sent meanwhile."] if left else []
    as_json = {"discarded": done, "missing": len(missing), "left": left, "result": "discarded"}
    return Result(as_json=as_json, lines=lines, code=1 if missing or left else 0)


def _check_numbers(databases: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raise `CommandError` for a row's id where several databases may have that row."""
    numbers = [each for each in options["ids"] if each.isascii() and each.isdecimal()]
    if numbers and len(databases) > 1:
        raise CommandError(f"Row {numbers[0]} may be in each database: name one by --database.", returncode=2)


def _found(using: str, options: Mapping[str, Any]) -> Sequence[int]:
    """Return the ids of the rows of a database that are meant."""
    found: Sequence[int] = _app().actions.find(using, ids=options["ids"] or None, stream=options["stream"])
    return found


def _app() -> Any:
    """Return the package of the outbox, with its modules. Raises `CommandError` where the app isn't installed."""
    if not is_installed():
        raise CommandError(
            f"The outbox isn't installed: add {APP!r} to INSTALLED_APPS, and migrate.",
            returncode=2,
        )
    # They import a model, which its app must be installed for.
    from ... import outbox  # noqa: PLC0415
    from ...outbox import actions, databases, listing, relay  # noqa: F401, PLC0415

    return outbox


def _databases(options: Mapping[str, Any]) -> Sequence[str]:
    """Return the databases that have the table, or the one that is asked for, and tell of those that lack it.

    Raises `CommandError` where none has it, and for one that isn't declared.
    """
    databases, alias = _app().databases, options.get("database")
    if alias is not None and alias not in databases.every_database():
        raise CommandError(
            f"Database {alias!r} isn't declared in DATABASES.{conf.nearest(alias, databases.every_database())}",
            returncode=2,
        )
    wanted = databases.aliases() if alias is None else [alias]
    if not wanted:
        raise CommandError(
            "No database may have the table of the outbox: a router's allow_migrate() refuses it to all."
        )
    found = [each for each in wanted if _has_table(each)]
    lacking = [
        f"Database {each!r} has no table of the outbox. {how_to_make(LABEL, each)}"
        for each in wanted
        if each not in found
    ]
    if not found:
        raise CommandError("\n".join(lacking))
    for line in lacking:
        options["err"].write(line)
    if alias is not None and alias not in databases.aliases():
        options["err"].write(
            f"No relay looks into database {alias!r}: a router's allow_migrate() keeps the outbox's table out of it."
        )
    return found


def _has_table(using: str) -> bool:
    with _app().databases.asking(using):
        return has_table(using, TABLE)


def _age(row: UnsentMessage) -> float:
    return max(0.0, row.age.total_seconds())


def _next_try(row: UnsentMessage) -> str:
    """Return when a row is tried next, or for how long it should have been."""
    if row.next_try <= row.read_at:
        return f"overdue for {ago((row.read_at - row.next_try).total_seconds())}"
    return row.next_try.isoformat(timespec="seconds")


def _cells(row: UnsentMessage) -> tuple[str, ...]:
    return (
        str(row.pk), row.message_id, row.stream, row.lane, row.sort_key or "-", ago(_age(row)),
        row.standing.value, str(row.attempts), _next_try(row), row.fault or row.error or "-",
    )  # fmt: skip


def _as_json(row: UnsentMessage) -> dict[str, Any]:
    texts = {name: visible(getattr(row, name)) for name in ("message_id", "stream", "lane", "error")}
    return {
        "database": row.database, "id": row.pk, **texts, "key": visible(row.sort_key), "age": _age(row),
        "state": row.standing.value, "attempts": row.attempts, "next_try": row.next_try.isoformat(),
        "undecodable": visible(row.fault),
    }  # fmt: skip


LIST_OUTBOX: Final = Subcommand(
    name="outbox list", help="Lists messages that aren't on the server yet, the oldest first.",
    add_arguments=_add_list, run=_list,
)  # fmt: skip
RELAY_OUTBOX: Final = Subcommand(
    name="outbox relay", help="Sends what waits in the outbox, as each worker does, until it is stopped.",
    add_arguments=_add_relay, run=_relay,
)  # fmt: skip
DISCARD_OUTBOX: Final = Subcommand(
    name="outbox discard", help="Deletes unsent messages for good: no group gets them.",
    add_arguments=_add_discard, run=_discard,
)  # fmt: skip
