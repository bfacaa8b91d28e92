"""`manage.py runconsumers`: the workers of the project's consumer groups."""

from __future__ import annotations

import argparse
import logging
import re
import signal
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NoReturn

from django.core.checks import run_checks
from django.core.management.base import BaseCommand, CommandError, CommandParser, SystemCheckError
from django.db import connections as databases
from redis.exceptions import ResponseError

from ... import conf, connections, handlers
from ...conf import GroupConfig, StreamConfig
from ...exceptions import HandlerError, StreamsError
from ...keys import split_label
from ...metrics.exposition import check_installed
from ...operations import groups
from ...store.consume.drained import standstill
from ...store.consume.membership import Membership
from ...store.consume.promote import waiting_delayed, waiting_retries
from ...worker import strays
from ...worker.execution.sqlite import IDENTITY, hasty_databases
from ...worker.http.exporter import listen
from ...worker.options import Options
from ...worker.services.kinds import redis_connections
from ...worker.supervisor.autoreload import begin_anew
from ...worker.supervisor.supervisor import Supervisor
from ...worker.system.memory import readable_size, resident
from ..arguments import port as port_number

__all__ = ["Command"]

logger = logging.getLogger("django_redis_streams")

# What --verbosity shows of the log in a project without LOGGING for it.
_LEVELS: Final = {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO, 3: logging.DEBUG}

# The errors of checks that concern some groups alone; `obj` of all but the first two is the group's label.
_OF_GROUPS: Final = frozenset(
    f"django_redis_streams.{each}" for each in ("E010", "E015", "E011", "E012", "E013", "E018", "E019")
)

# In seconds: at the end what waits is counted for so long. Nobody can end a look-up of a server's name.
_COUNTING: Final = 5.0
_UNCOUNTED: Final = "Stopped. What waits isn't counted, because a server couldn't be reached or refused something."

Served = tuple[StreamConfig, GroupConfig]


class _StoppedEarlyError(BaseException):
    """A signal came while there was no worker to stop. It is no failure."""


class Command(BaseCommand):
    """Run the workers, which read the groups' messages, run their handlers, retry and dead-letter."""

    help = "Runs the workers of consumer groups: all that have handlers, or those that are named."

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # By label, why a group isn't served.
        self._faults: dict[str, str] = {}

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options: which groups are served, by how many processes and threads, and until when."""
        add = parser.add_argument
        add("groups", nargs="*", metavar="stream[:group]", help="What to serve; default: every group with a handler.")
        add("--processes", type=_at_least_one, default=1, help="Processes (default: 1).")
        add("--threads", type=_at_least_one, default=1, help="Threads a group in each process (default: 1).")
        add("--drain", action="store_true", help="End when nothing is unread, pending or due.")
        add("--max-messages", type=_at_least_one, metavar="N", help="End each process after N messages.")
        timeout_help = "How long handlers may take to finish at a stop (default: 30)."
        add("--shutdown-timeout", type=_seconds, default=30.0, metavar="SECONDS", help=timeout_help)
        memory_help = "Replace a process that has more than this in memory, such as 512M or 2G (default: no limit)."
        add("--max-memory", type=_size, metavar="SIZE", help=memory_help)
        either = parser.add_mutually_exclusive_group().add_argument
        either("--metrics-port", type=port_number, metavar="PORT", help="Serve /metrics, /healthz and /readyz there.")
        either("--health-port", type=port_number, metavar="PORT", help="Serve /healthz and /readyz there.")
        add("--metrics-address", default="0.0.0.0", metavar="ADDRESS", help="Where to listen (default: 0.0.0.0).")  # noqa: S104
        add("--reload", action="store_true", help="Begin anew when code is changed, for development.")
        add("--name", default="", help="Goes before the consumers' names, which stay unique.")

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command. From here on a SIGTERM ends it cleanly, even without a worker to stop."""
        before = signal.signal(signal.SIGTERM, _stop_early) or signal.SIG_DFL
        try:
            # Processes that handlers fork don't belong to this command.
            with strays.prepared(lambda: signal.signal(signal.SIGTERM, before)), _shown_log(options["verbosity"]):
                return super().execute(*args, **options)
        except _StoppedEarlyError:
            self.stdout.write("Stopped.")
            return None
        finally:
            signal.signal(signal.SIGTERM, before)

    def check(self, *args: Any, **options: Any) -> None:
        """Check the project. A fault of some groups alone is told, and keeps only these from being served."""
        try:
            super().check(*args, **options)
        except SystemCheckError as error:
            found = [each for each in run_checks() if each.is_serious() and not each.is_silenced()]
            if not found or any(each.id not in _OF_GROUPS for each in found):
                raise
            self.stderr.write(str(error))
            self._faults = {str(each.obj): each.msg for each in found}

    def handle(self, *_: Any, **options: Any) -> None:
        """Run until stopped or done. Raises `CommandError` for groups or options that can't work."""
        try:
            served, left_out = _divided(_chosen(options["groups"]), self._faults)
            worker_options = _worker_options(options, served)
        except StreamsError as error:
            raise CommandError(str(error)) from error
        for label, fault in left_out.items():
            logger.error("%s isn't served: %s Other groups are.", label, fault)
        supervisor = Supervisor(worker_options)
        code = supervisor.run(lambda: self._write_opening(worker_options))
        if supervisor.given_up:
            raise CommandError(supervisor.given_up)
        if supervisor.begins_anew:
            begin_anew()
        for line in [_UNCOUNTED] if supervisor.unreached else _counted(worker_options):
            self.stdout.write(line)
        if code:
            raise CommandError("A process didn't end well; the log says which, and why.", returncode=code)
        if left_out and worker_options.drain:
            raise CommandError(f"Not drained: {', '.join(left_out)}. The log says why.")

    def _write_opening(self, options: Options) -> None:
        self.stdout.write(self.style.SUCCESS(_opening(options)))
        self.stdout.flush()
        for what, fix in hasty_databases():
            self.stderr.write(self.style.WARNING(f"{what} {fix} ({IDENTITY})"))


@contextmanager
def _shown_log(verbosity: int) -> Iterator[None]:
    """Write the log to standard error in a project without LOGGING for it: Python alone adds no time and no level."""
    logger = logging.getLogger("django_redis_streams")
    if logger.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(_LEVELS[verbosity])
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _stop_early(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _StoppedEarlyError


def _chosen(names: Iterable[str]) -> list[Served]:
    """Return the groups that are named, or else those that have handlers. Raises `CommandError` where there are none.

    So it does for a named group without handlers.
    """
    chosen = [each for name in names for each in _named(name)] or _with_handlers(conf.get().streams.values())
    for stream, group in chosen:
        if not _has_handlers(stream, group):
            raise CommandError(
                f"Group {group.name!r} of stream {stream.name!r} has no handler: its messages would have nowhere "
                f"to go. Write one with @handler({stream.name!r}, group={group.name!r}) in a stream_handlers.py."
            )
    if not chosen:
        has_outbox = any(stream.outbox for stream in conf.get().streams.values())
        raise CommandError(
            "No group has a handler. Write one with @handler in an app's stream_handlers.py."
            + " To relay the outbox alone: manage.py streams outbox relay" * has_outbox
        )
    return chosen


def _divided(chosen: Iterable[Served], faults: Mapping[str, str]) -> tuple[list[Served], dict[str, str]]:
    """Return the groups that can be served, and why others can't be, by label. Raises `CommandError` if none can."""
    served, left_out = [], {}
    for stream, group in chosen:
        label = f"{stream.name}:{group.name}"
        if fault := faults.get(label) or _load_error(stream, group):
            left_out[label] = fault
        else:
            served.append((stream, group))
    if not served:
        raise CommandError(" ".join(dict.fromkeys(left_out.values())))
    return served, left_out


def _worker_options(options: dict[str, Any], served: Sequence[Served]) -> Options:
    _check_seen_by_processes({stream.connection for stream, _ in served})
    _check_memory(options["max_memory"])
    return Options(
        groups=tuple({(stream.name, group.name): (stream, group) for stream, group in served}.values()),
        processes=options["processes"],
        threads=options["threads"],
        drain=options["drain"],
        max_messages=options["max_messages"],
        shutdown_timeout=options["shutdown_timeout"],
        name=options["name"],
        max_memory=options["max_memory"],
        reload=options["reload"],
        listening=_listening(options),
    )


def _check_seen_by_processes(aliases: Iterable[str]) -> None:
    """Raise `CommandError` in a test whose server or data is for its own process alone.

    Raises `ConfigurationError` for wrong settings of a connection.
    """
    instead = "Run the handlers in the test: django_redis_streams.testing.drain() does."
    if fake := [alias for alias in aliases if connections.address(alias).startswith("fake://")]:
        raise CommandError(
            f"Connection {fake[0]!r} leads to a fake server in the memory of this process: a worker's processes would "
            f"find nothing there. {instead}"
        )
    if within := [each.alias for each in databases.all(initialized_only=True) if each.in_atomic_block]:
        raise CommandError(
            f"runconsumers was called within a transaction of database {within[0]!r}, as in a TestCase: a worker's "
            f"processes don't see what it hasn't committed, and what is published in it waits for the commit. {instead}"
        )


def _listening(options: dict[str, Any]) -> socket.socket | None:
    """Return the socket for metrics and health checks, or None if neither is wanted.

    The socket is bound now, so that a port that is in use is an error.
    """
    if options["metrics_port"] is not None:
        check_installed()
    port, address = options["metrics_port"] or options["health_port"], options["metrics_address"]
    if port is None:
        return None
    try:
        return listen(address, port)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise CommandError(
            f"Can't listen on {address!r}, port {port}: {why}. Choose another --metrics-port or --health-port, or end "
            "the process that has it."
        ) from error


def _check_memory(most: int | None) -> None:
    """Refuse a `--max-memory` that this process already uses up.

    A process begins with the memory of this one. If that is too much, each would be replaced after one message.
    """
    used = resident()
    if most is not None and used >= most:
        raise CommandError(
            f"--max-memory: {readable_size(most)} is less than the {readable_size(used)} that this project uses before "
            "its first message."
        )


def _named(name: str) -> list[Served]:
    """Return the groups that an argument names: those of a stream, or one group."""
    if name in conf.get().streams:
        stream = conf.stream(name)
        return _with_handlers([stream]) or _groups([stream])
    named, group = split_label(name)
    return [(conf.stream(named), conf.group(named, group))]


def _with_handlers(streams: Iterable[StreamConfig]) -> list[Served]:
    return [each for each in _groups(streams) if _has_handlers(*each)]


def _has_handlers(stream: StreamConfig, group: GroupConfig) -> bool:
    """Return whether a group has handlers; where they can't be loaded, it counts as having some."""
    try:
        return len(handlers.of(stream.name, group.name)) > 0
    except HandlerError:
        return True


def _load_error(stream: StreamConfig, group: GroupConfig) -> str:
    """Return why a group's handlers can't be loaded, "" where they can."""
    try:
        handlers.of(stream.name, group.name)
    except HandlerError as error:
        return str(error)
    return ""


def _groups(streams: Iterable[StreamConfig]) -> list[Served]:
    return [(stream, group) for stream in streams for group in stream.groups.values()]


def _opening(options: Options) -> str:
    served = ", ".join(f"{stream.name}:{group.name}" for stream, group in options.groups)
    consumers = len(options.targets)
    threads = options.processes * consumers
    to_redis = ", ".join(f"{count} ({alias!r})" for alias, count in redis_connections(options).items())
    aliases = ", ".join(map(repr, databases)) or "none"
    return (
        f"Consuming {served} with processes: {options.processes}, threads in each: {consumers}; connections to Redis: "
        f"{to_redis}; connections to each database ({aliases}): {threads} at most. Stop with Ctrl-C."
    )


def _counted(options: Options) -> list[str]:
    """Return the last lines of the output; where counting takes too long, the one that says so."""
    lines: list[str] = []
    thread = threading.Thread(target=lambda: lines.extend(_closing(options)), daemon=True)
    thread.start()
    thread.join(_COUNTING)
    return lines or [_UNCOUNTED]


def _closing(options: Options) -> list[str]:
    """Return the last lines of the output, which say how many messages are left.

    These are messages that wait for later, those of a paused group, and those that a drain didn't run.
    """
    lines: list[str] = []
    try:
        for stream, group in options.groups:
            lines += _left_of(stream, group, drain=options.drain)
        for stream in {stream.name: stream for stream, _ in options.groups}.values():
            if delayed := waiting_delayed(connections.get(stream.connection), stream.keys):
                lines.append(f"{stream.name}: {delayed} waiting to be published later.")
    except (StreamsError, ResponseError) as error:
        return [*lines, f"Stopped. {error}"]
    return [*lines, "Stopped."]


def _left_of(stream: StreamConfig, group: GroupConfig, *, drain: bool) -> Iterator[str]:
    label, link = f"{stream.name}:{group.name}", connections.get(stream.connection)
    paused = groups.is_paused(stream.name, group.name)
    unfinished = paused or (drain and standstill(link, [Membership(stream, group, "")]) is None)
    if unfinished and (left := _unread_or_pending(stream.name, group.name)):
        yield f"{label}{' is paused' if paused else ''}: {left} unread or pending."
    if waiting := waiting_retries(link, stream.keys, group.name):
        yield f"{label}: {waiting} waiting for a later retry."


def _unread_or_pending(stream: str, group: str) -> str:
    """Return how many messages of a group are unread or pending; "" for none."""
    from ... import inspection  # noqa: PLC0415  needed at the end alone, and never by the processes

    books = next((each for each in inspection.books(stream) if each.group == group), None)
    if books is None:
        return ""
    if books.unread is None:
        return "an unknown number"
    return str(books.unread + books.pending or "")


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, 0 or more")
    return seconds


def _size(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]*)([MG])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a size in mebibytes or gibibytes, such as 512M or 2G")
    return int(found[1]) << {"M": 20, "G": 30}[found[2]]
