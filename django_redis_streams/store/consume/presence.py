"""Which workers are there: each process says so every few seconds, to each stream that it serves.

What a process says of itself is kept beside the stream, in its hash slot, in a key of its own that expires soon. Mostly
nothing of it has changed: then the process only has the key expire later. Idle times of `XINFO CONSUMERS` don't tell:
before Redis 7.2 the server doesn't know a consumer that was given nothing, and a consumer is silent while it runs a
handler.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from ...conf import StreamConfig
from ...connections import Link
from ...keys import StreamKeys
from ..scripts import Command, run, script

__all__ = [
    "LIVING_MS", "ProcessRecord", "RunRecord", "absent_command", "consumers_command", "living_command",
    "present_command", "serving",
]  # fmt: skip

# A process that has said nothing for so long is dead. It may miss two of three times.
_LIVING_SECONDS: Final = 15
LIVING_MS: Final = _LIVING_SECONDS * 1000
# A living process says all of it at least once a minute. In seconds: after three times as long it is looked at whether
# a process is alive at all.
_PROCESSES_KEPT: Final = 180
# In seconds, at least: so long the name of a dead worker's consumer is known to be one of a worker.
_NAMES_KEPT: Final = 3600.0
# Bounds of what a process says of its runs: how many, and how many characters of each text.
_MOST_RUNS: Final = 20
_LONGEST: Final = 200
# The largest number in what a process says: a float holds all whole ones up to it.
_LARGEST: Final = 2**53


class RunRecord(NamedTuple):
    """One call of a handler that goes on: for how many ms, of how many seconds that it may take (None: no end).

    `message` is the id of its message, of a batch the first of `messages`.
    """

    group: str
    consumer: str
    message: str
    handler: str
    ms: int
    timeout: float | None
    messages: int


class ProcessRecord(NamedTuple):
    """What a worker's process says of itself to one stream.

    `ms` is for how long it has run, `memory` how many bytes of it are in memory. `groups` says how many consumers serve
    each group, in all of `lanes`. `runs` are the longest of the calls that go on, beside `runs_more` others. With
    `quarantine` it only runs messages that may have ended a worker.
    """

    host: str
    pid: int
    ms: int
    memory: int
    quarantine: bool
    lanes: Sequence[str]
    groups: Mapping[str, int]
    runs: Sequence[RunRecord]
    runs_more: int = 0

    def to_json(self) -> str:
        """Return it as it is kept: of the runs the longest few, of each text the first characters."""
        longest = sorted(self.runs, key=lambda each: -each.ms)
        cut = [
            each._replace(message=each.message[:_LONGEST], handler=each.handler[:_LONGEST])
            for each in longest[:_MOST_RUNS]
        ]
        record = self._replace(runs=cut, runs_more=len(longest) - len(cut))
        return json.dumps(record._asdict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """Return what was kept, or None for anything else: any client can write there."""
        try:
            fields: Any = json.loads(text)
            record = cls(**{**fields, "runs": [RunRecord(*each) for each in fields["runs"]]})
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return record if _is_sound(record) else None


def present_command(
    stream: StreamConfig,
    process: str,
    clock: int,
    record: ProcessRecord,
    consumers: Mapping[str, Sequence[str]],
    *,
    ended: Mapping[str, Sequence[str]] | None = None,
) -> Command:
    """Say that a process is there, its clock shows so many ms since 1970, and these consumers serve these groups.

    Others of its consumers have `ended`. The name of each is that of its process, or begins with it, a hyphen and a
    number.
    """
    keys, gone = stream.keys, ended or {}
    groups = list(dict.fromkeys([*consumers, *gone]))
    names = [keys.main, keys.groups, keys.processes, keys.alive(""), *map(keys.workers, groups)]
    kept = max(_NAMES_KEPT, *(2 * each.claim_idle for each in stream.groups.values()))
    times = LIVING_MS, _PROCESSES_KEPT * 1000, round(kept * 1000)
    words = [word for each in groups for word in (each, *_counted(consumers, each), *_counted(gone, each))]
    return script("present")(names, process, clock, record.to_json(), *times, *words)


def living_command(stream: StreamConfig, process: str) -> Command:
    """Say that a process is still there, and that nothing else has changed. The reply is 0 if the server forgot it."""
    return ["EXPIRE", stream.keys.alive(process), _LIVING_SECONDS]


def absent_command(stream: StreamConfig, process: str, consumers: Mapping[str, Sequence[str]]) -> Command:
    """Say that a process has ended, and that these were its consumers, by their groups."""
    keys = stream.keys
    names = [keys.main, keys.processes, keys.alive(process), *map(keys.workers, consumers)]
    words = [word for each in consumers for word in (each, *_counted(consumers, each))]
    return script("absent")(names, process, *words)


def serving(link: Link, keys: StreamKeys, group: str) -> Mapping[str, int | None]:
    """Return how many ms ago the process of each of the workers' consumers in a group said that it is there, by name.

    It is None for those of dead workers, which are known for an hour.
    """
    reply = run(link, script("serving")([keys.workers(group), keys.processes, keys.alive("")], LIVING_MS))
    return dict(zip(reply[::2], reply[1::2], strict=True))


def consumers_command(keys: StreamKeys, group: str, server_ms: int) -> Command:
    """Ask how many consumers workers have in a group, when the server's clock shows so many ms.

    Those that died in the last three minutes count, too: a living process says all of it each minute.
    """
    return ["ZCOUNT", keys.workers(group), server_ms - _PROCESSES_KEPT * 1000, "+inf"]


def _is_sound(record: ProcessRecord) -> bool:
    """Return whether what was read is of the types that a process writes."""
    lanes, groups = record.lanes, record.groups
    if not (isinstance(lanes, list) and isinstance(groups, dict) and isinstance(record.quarantine, bool)):
        return False
    texts: list[object] = [record.host, *lanes]
    numbers: list[object] = [record.pid, record.ms, record.memory, record.runs_more, *groups.values()]
    for each in record.runs:
        texts += [each.group, each.consumer, each.message, each.handler]
        numbers += [each.ms, each.messages, *([] if each.timeout is None else [each.timeout])]
    return all(isinstance(each, str) for each in texts) and all(
        isinstance(each, int | float) and 0 <= each <= _LARGEST for each in numbers
    )


def _counted(consumers: Mapping[str, Sequence[str]], group: str) -> Sequence[str | int]:
    names = consumers.get(group, ())
    return len(names), *names
