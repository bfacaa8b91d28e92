"""The processes of workers, as each says of itself every few seconds: what it serves, what it runs, its clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from ..conf import StreamConfig
from ..store.observe.processes import ProcessFigures, processes_command, processes_of
from .grouping import ask_each
from .paging import Problem
from .records import moment

__all__ = ["RunningHandler", "ServedGroup", "WorkerProcess", "Workers", "workers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedGroup:
    """A group that a process serves with so many `consumers`, in these lanes."""

    stream: str
    group: str
    lanes: Sequence[str]
    consumers: int

    @property
    def label(self) -> str:
        """The group's name as commands take it: `stream:group`."""
        return f"{self.stream}:{self.group}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningHandler:
    """A call of a handler that has gone on for so many `seconds`; it may take `timeout` seconds, None for no end.

    `message` is the id of its message, for a batch that of the first of so many `messages`.
    """

    stream: str
    group: str
    consumer: str
    message: str
    handler: str
    seconds: float
    timeout: float | None
    messages: int

    def __str__(self) -> str:
        of = "without a TIMEOUT" if self.timeout is None else f"of TIMEOUT {self.timeout:g}"
        what = self.message if self.messages == 1 else f"{self.messages:,} messages from {self.message} on"
        return f"{self.handler} runs {what} for {self.seconds:,.0f} s {of}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """A living process of a worker.

    It was `started` at that time of the server's clock, and `heard` of so many seconds ago. Its own clock shows
    `clock_ahead` seconds more than the server's (negative: less). `memory` is how many bytes of it are in memory.
    `runs` are the longest of the calls that go on, `runs_more` how many there are beside these. With `quarantine` it
    serves no group: it runs messages that may have ended a worker.
    """

    name: str
    host: str
    pid: int
    started: datetime
    heard: float
    clock_ahead: float
    memory: int
    quarantine: bool
    serves: Sequence[ServedGroup] = field(default=())
    runs: Sequence[RunningHandler] = field(default=())
    runs_more: int = 0


@dataclass(frozen=True, slots=True)
class Workers:
    """The living processes, by host and pid, and the problems of streams that couldn't be read."""

    processes: Sequence[WorkerProcess]
    problems: Sequence[Problem]


def workers(*streams: str) -> Workers:
    """Return the processes of workers that serve these streams (default: all declared ones).

    One round trip for each server. Raises `UnknownStream`, and `ConfigurationError` for settings that can't work.
    """
    replies, problems = ask_each(streams, processes_command)
    found: dict[str, WorkerProcess] = {}
    for stream, reply in replies:
        for figures in processes_of(reply):
            found[figures.process] = _joined(found.get(figures.process), _process(stream, figures))
    return Workers(sorted(found.values(), key=lambda each: (each.host, each.pid, each.name)), problems)


def _process(stream: StreamConfig, figures: ProcessFigures) -> WorkerProcess:
    record, ms_ago = figures.record, figures.ms_ago
    return WorkerProcess(
        name=figures.process,
        host=record.host,
        pid=record.pid,
        started=moment(figures.now - ms_ago - record.ms),
        heard=ms_ago / 1000,
        clock_ahead=figures.clock_ahead / 1000,
        memory=record.memory,
        quarantine=record.quarantine,
        serves=[
            ServedGroup(stream=stream.name, group=group, lanes=record.lanes, consumers=count)
            for group, count in record.groups.items()
        ],
        runs=[
            RunningHandler(
                stream=stream.name, group=each.group, consumer=each.consumer, message=each.message,
                handler=each.handler, seconds=(each.ms + ms_ago) / 1000, timeout=each.timeout, messages=each.messages,
            )
            for each in record.runs
        ],
        runs_more=record.runs_more,
    )  # fmt: skip


def _joined(before: WorkerProcess | None, also: WorkerProcess) -> WorkerProcess:
    """Join what a process said to one stream with what it said to others."""
    if before is None:
        return also
    runs = sorted([*before.runs, *also.runs], key=lambda each: -each.seconds)
    return replace(
        before if before.heard <= also.heard else also,
        serves=[*before.serves, *also.serves],
        runs=runs,
        runs_more=before.runs_more + also.runs_more,
    )
