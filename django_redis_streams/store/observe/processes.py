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
    """One living process: what it said `ms_ago`, and by how many ms its clock is ahead of the server's.

    `now` is the server's time, in ms since 1970.
    """

    process: str
    now: int
    ms_ago: int
    clock_ahead: int
    record: ProcessRecord


def processes_command(stream: StreamConfig) -> Command:
    """Ask for the living processes of workers that serve groups of a stream, for `processes_of`."""
    return script("processes")([stream.keys.processes, stream.keys.process_records], LIVING_MS)


def processes_of(reply: Any) -> Iterator[ProcessFigures]:
    """Yield the processes that the server replied with."""
    now, *rows = reply
    for process, ms_ago, kept in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        ahead, _, text = kept.partition(" ")
        record = ProcessRecord.from_json(text)
        if record is not None and _WHOLE.fullmatch(ahead):
            yield ProcessFigures(process, now, ms_ago, int(ahead), record)
