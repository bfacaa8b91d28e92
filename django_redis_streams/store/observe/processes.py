"""The processes of workers that serve a stream, as each said of itself last."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ...conf import StreamConfig
from ..consume.presence import LIVING_MS, ProcessRecord
from ..scripts import Command, script

__all__ = ["ProcessFigures", "processes_command", "processes_of"]

_WHOLE: Final = re.compile(r"-?[0-9]{1,15}")


class ProcessFigures(NamedTuple):
    """One living process: `heard_ago` is how many ms ago it said that it is there, `written_ago` its `record`.

    `now` is the server's time, in ms since 1970. By `clock_ahead` ms the process' clock was ahead of that when it wrote
    the record.
    """

    process: str
    now: int
    heard_ago: int
    written_ago: int
    clock_ahead: int
    record: ProcessRecord


def processes_command(stream: StreamConfig) -> Command:
    """Ask for the living processes of workers that serve groups of a stream, for `processes_of`."""
    return script("processes")([stream.keys.processes, stream.keys.alive("")], LIVING_MS)


def processes_of(reply: Any) -> Iterator[ProcessFigures]:
    """Yield the processes that the server replied with."""
    now, *rows = reply
    for process, heard_ago, written_ago, kept in zip(rows[::4], rows[1::4], rows[2::4], rows[3::4], strict=True):
        ahead, _, text = kept.partition(" ")
        record = ProcessRecord.from_json(text)
        if record is not None and _WHOLE.fullmatch(ahead):
            yield ProcessFigures(process, now, heard_ago, written_ago, int(ahead), record)
