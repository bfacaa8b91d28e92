"""`manage.py streams workers`: the living processes of workers, what each serves, and what it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.core.management.base import CommandParser

from ... import conf, inspection
from ...inspection import RunningHandler, ServedGroup, WorkerProcess
from ..subcommands import Result, Subcommand
from ..tables import ago, amount, size, table

__all__ = ["WORKERS"]

_PROCESS: Final = ("host", "pid", "runs for", "serves", "calls", "memory", "clock")
_RUN: Final = ("pid", "group", "handler", "message", "messages", "for", "timeout")


def _add_arguments(parser: CommandParser) -> None:
    parser.add_argument("streams", nargs="*", metavar="stream", help="That serve which streams (default: all).")


def _run(options: Mapping[str, Any]) -> Result:
    found = inspection.workers(*(conf.stream(name).name for name in options["streams"]))
    problems = {each.stream: str(each.error) for each in found.problems}
    return Result(
        as_json={"workers": [_as_json(each) for each in found.processes], "problems": problems},
        lines=list(_lines(found.processes, problems)),
        code=1 if problems else 0,
    )


def _as_json(process: WorkerProcess) -> Mapping[str, Any]:
    return {
        "name": process.name,
        "host": process.host,
        "pid": process.pid,
        "started": process.started.isoformat(),
        "age": process.age,
        "heard": process.heard,
        "clock_ahead": process.clock_ahead,
        "memory": process.memory,
        "quarantine": process.quarantine,
        "serves": [_served(each) for each in process.serves],
        "runs": [_running(each) for each in process.runs],
        "runs_more": process.runs_more,
    }


def _served(served: ServedGroup) -> Mapping[str, Any]:
    return {
        "stream": served.stream, "group": served.group, "lanes": list(served.lanes), "consumers": served.consumers,
    }  # fmt: skip


def _running(run: RunningHandler) -> Mapping[str, Any]:
    return {
        "stream": run.stream, "group": run.group, "consumer": run.consumer, "message": run.message,
        "messages": run.messages, "handler": run.handler, "seconds": run.seconds, "timeout": run.timeout,
    }  # fmt: skip


def _lines(processes: Sequence[WorkerProcess], problems: Mapping[str, str]) -> Iterator[str]:
    if processes:
        yield from table(_PROCESS, map(_process_cells, processes))
    elif not problems:
        yield "No worker is running."
    if rows := [_run_cells(process, run) for process in processes for run in process.runs]:
        yield ""
        yield from table(_RUN, rows)
    yield from (f"{stream}: {error}" for stream, error in problems.items())


def _process_cells(process: WorkerProcess) -> Sequence[str]:
    serves = "suspects, in quarantine" if process.quarantine else ", ".join(map(_in_words, process.serves))
    return (
        process.host, str(process.pid), ago(process.age), serves or "-",
        amount(len(process.runs) + process.runs_more), size(process.memory), f"{process.clock_ahead:+z,.1f} s",
    )  # fmt: skip


def _in_words(served: ServedGroup) -> str:
    lanes = "" if list(served.lanes) == ["default"] else f" ({'/'.join(served.lanes)})"
    return f"{served.label}{lanes} by {amount(served.consumers)}"


def _run_cells(process: WorkerProcess, run: RunningHandler) -> Sequence[str]:
    return (
        str(process.pid), f"{run.stream}:{run.group}", run.handler, run.message, amount(run.messages),
        ago(run.seconds), "none" if run.timeout is None else ago(run.timeout),
    )  # fmt: skip


WORKERS: Final = Subcommand(
    name="workers",
    help="Shows the processes of workers that are alive, and what each runs.",
    add_arguments=_add_arguments,
    run=_run,
)
