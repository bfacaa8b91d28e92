"""Whether a worker lives and works, by what its processes have written down: no server is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..shared.counters import WorkerCounters

__all__ = ["not_alive", "not_ready"]

# In seconds. A turn takes fifteen if nothing comes, and a few more if the server is away.
_LONGEST_TURN: Final = 30.0
# In seconds: a consumer that has waited longer for a new connection isn't connected, whatever its last turn found.
_LONGEST_OPENING: Final = 5.0


def not_alive(counters: WorkerCounters) -> list[str]:
    """Return a text for each loop that stands still; none where every loop turns.

    A handler that runs is alive, and so is a consumer that waits for a connection: a restart would help neither.
    """
    found = [] if counters.silent_for < _LONGEST_TURN else [f"the supervisor is silent for {counters.silent_for:.0f} s"]
    for process in counters.processes:
        silent = [(each, each.silent_for) for each in process.consumers] if process.works else []
        found += [
            f"{each.stream}:{each.group}: a consumer is silent for {seconds:.0f} s"
            for each, seconds in silent
            if seconds >= _LONGEST_TURN
        ]
    return found


def not_ready(counters: WorkerCounters) -> list[str]:
    """Return texts that say why messages may not be handled now; none if all processes run and are connected."""
    return [*not_alive(counters), *_missing(counters)]


def _missing(counters: WorkerCounters) -> Iterator[str]:
    if counters.stopping:
        yield "the worker stops"
    working = [process for process in counters.processes if process.works]
    if len(working) < counters.process_count:
        yield f"{len(working)} of {counters.process_count} processes run"
    for each in (consumer for process in working for consumer in process.consumers):
        if not each.well or each.opens_for >= _LONGEST_OPENING:
            yield f"{each.stream}:{each.group}: a consumer is not connected, or refused"
