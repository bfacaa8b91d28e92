"""Whether a worker lives and works, told by what its processes have written down: no server is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..shared.counters import Tallies

__all__ = ["not_alive", "not_ready"]

# A turn takes a second where nothing comes, and a few more where the server is away.
_LONGEST_TURN: Final = 30.0


def not_alive(tallies: Tallies) -> list[str]:
    """What stands still, in words; nothing where every loop turns. A handler that runs is alive."""
    found = [] if tallies.silent_for < _LONGEST_TURN else [f"the supervisor is silent for {tallies.silent_for:.0f} s"]
    for row in tallies.rows:
        silent = [(each, each.silent_for) for each in row.tallies] if row.used else []
        found += [
            f"{each.stream}:{each.group}: a consumer is silent for {seconds:.0f} s"
            for each, seconds in silent
            if seconds >= _LONGEST_TURN
        ]
    return found


def not_ready(tallies: Tallies) -> list[str]:
    """Why messages may not be handled now, in words; nothing where all processes run and are connected."""
    return [*not_alive(tallies), *_missing(tallies)]


def _missing(tallies: Tallies) -> Iterator[str]:
    if tallies.stopping:
        yield "the worker stops"
    used = [row for row in tallies.rows if row.used]
    if len(used) < tallies.processes:
        yield f"{len(used)} of {tallies.processes} processes run"
    for each in (tally for row in used for tally in row.tallies):
        if not each.well:
            yield f"{each.stream}:{each.group}: a consumer is not connected, or refused"
