"""The processes of workers, as each says of itself every few seconds: what it serves, what it runs, its clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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

    It was `started` at that time of the server's clock, `age` seconds ago, and `heard` of so many seconds ago. Its own
    clock showed `clock_ahead` seconds more than the server's (negative: less) when it last compared them, at most about
    a minute ago. `memory` is how many bytes of it are in memory, give or take a tenth. `runs` are the longest of the
    calls that go on, `runs_more` how many there are beside these. With `quarantine` it serves no group: it runs
    messages that may have ended a worker.
    """

    name: str
    host: str
    pid: int
    started: datetime
    age: float
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
    said: dict[str, list[tuple[StreamConfig, ProcessFigures]]] = {}
    for stream, reply in replies:
        for figures in processes_of(reply):
            said.setdefault(figures.process, []).append((stream, figures))
    found = [_process(each) for each in said.values()]
    return Workers(sorted(found, key=lambda each: (each.host, each.pid, each.name)), problems)


def _process(said: Sequence[tuple[StreamConfig, ProcessFigures]]) -> WorkerProcess:
    """Join what a process said to some streams; of itself it said to each the same, to one of them last."""
    last = min((figures for _, figures in said), key=lambda figures: figures.written_ago)
    record = last.record
    runs = [run for stream, figures in said for run in _runs(stream, figures)]
    return WorkerProcess(
        name=last.process,
        host=record.host,
        pid=record.pid,
        started=moment(last.now - last.written_ago - record.ms),
        age=(last.written_ago + record.ms) / 1000,
        heard=min(figures.heard_ago for _, figures in said) / 1000,
        clock_ahead=last.clock_ahead / 1000,
        memory=record.memory,
        quarantine=record.quarantine,
        serves=[
            ServedGroup(stream=stream.name, group=group, lanes=figures.record.lanes, consumers=count)
            for stream, figures in said
            for group, count in figures.record.groups.items()
        ],
        runs=sorted(runs, key=lambda run: -run.seconds),
        runs_more=sum(figures.record.runs_more for _, figures in said),
    )


def _runs(stream: StreamConfig, figures: ProcessFigures) -> Iterator[RunningHandler]:
    for run in figures.record.runs:
        yield RunningHandler(
            stream=stream.name, group=run.group, consumer=run.consumer, message=run.message, handler=run.handler,
            seconds=(run.ms + figures.written_ago) / 1000, timeout=run.timeout, messages=run.messages,
        )  # fmt: skip
