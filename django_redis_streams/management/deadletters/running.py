"""Replaying or discarding all selected dead letters: at a rate, and safe to stop and begin again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ... import conf
from ...exceptions import ServerUnreachable
from ...inspection import DeadLetter, visible
from ...operations import dead_letters
from ...operations.dead_letters import Done, Search
from ..arguments import count, rate
from ..options import add_by, add_dry_run, add_no_input, confirmed
from .arguments import add_selection, search
from .as_json import search_as_json
from .progress import Progress

__all__ = ["add_run", "confirm", "run"]

# The most refusals that are listed one by one.
_MOST_TOLD: Final = 20
_STOPPED: Final = 130

Change = Callable[[Iterable[DeadLetter]], Iterable[Done]]


def add_run(parser: CommandParser) -> None:
    """Add the arguments that replaying and discarding share."""
    add_selection(parser, scan=None)
    parser.add_argument("--limit", type=count, default=None, help="So many at most, the oldest first.")
    parser.add_argument("--rate", type=rate, default=None, help="So many in a time at most: 50/s, 100/m.")
    add_dry_run(parser)
    add_no_input(parser)
    add_by(parser)


def confirm(options: Mapping[str, Any], verb: str, how: str, *, most: int) -> None:
    """Ask whether to change more than `most` dead letters, unless each of them was named by its id.

    The search that is run afterwards should be there already, so that it meets no more than are counted here. Raises
    `CommandError` where the answer is no, or nobody can be asked.
    """
    if options["dry_run"] or options["no_input"] or (options["ids"] and most):
        return
    number = sum(1 for _ in islice(search(options), options["limit"]))
    letters = "dead letter" if number == 1 else "dead letters"
    if number > most and not confirmed(f"{number} {letters} would be {verb}{how}.", options):
        raise CommandError(f"Nothing was {verb}.")


@dataclass(slots=True)
class _Tally:
    """The counts of a run so far."""

    verb: str
    done: int = 0
    refused: int = 0
    unanswered: int = 0
    refusals: list[tuple[str, str]] = field(default_factory=list)

    def add(self, one: Done) -> None:
        if one.unanswered:
            self.unanswered += 1
        elif one.refused is None:
            self.done += 1
        else:
            self.refused += 1
            if self.refused <= _MOST_TOLD:
                self.refusals.append((f"{one.row.stream} {one.row.entry_id}", str(one.refused)))

    def lines(self, look: Search, *, as_json: bool, stopped: bool) -> Iterator[str]:
        if as_json:
            refusals = [{"dead_letter": which, "why": why} for which, why in self.refusals]
            counts = {self.verb: self.done, "refused": self.refused, "unanswered": self.unanswered}
            yield json.dumps({**counts, "refusals": refusals, "stopped": stopped, **search_as_json(look)})
            return
        if not (self.done or self.refused or self.unanswered or stopped):
            yield "No dead letter fits: nothing to do."
        yield from (f"{which}: {why}" for which, why in self.refusals)
        if self.refused > len(self.refusals):
            yield f"… and {self.refused - len(self.refusals)} more were refused."
        if self.done or stopped:
            yield f"{'Stopped: ' if stopped else ''}{self.done} {self.verb}."
        if not look.finished and look.searched < look.total:
            yield f"Searched {look.searched} of {look.total}; run it again to go on."


def run(look: Search, verb: str, change: Change, options: Mapping[str, Any]) -> Iterator[str]:
    """Change the found rows, and yield the result. Raises `CommandError` if some were refused or unanswered."""
    rows = islice(look, options["limit"])
    if options["dry_run"]:
        yield from _dry_run(look, rows, verb, as_json=options["json"])
        return
    tally, progress = _Tally(verb), Progress(options["err"], look.total, silent=options["json"])
    stopped, lost = False, ""
    try:
        for one in change(rows):
            tally.add(one)
            progress.tell(look.searched, tally.done)
    except KeyboardInterrupt:
        stopped = True
    except ServerUnreachable as error:
        lost = str(error)
    progress.end(look.searched, tally.done, finished=look.finished)
    yield from tally.lines(look, as_json=options["json"], stopped=stopped)
    if stopped:
        # The server moves each in one step: none is half done, and a second run meets only the remaining ones.
        raise SystemExit(_STOPPED)
    if lost:
        raise CommandError(f"{lost} What isn't counted as {verb} may have been, too. Running it again is safe.")
    if tally.refused or tally.unanswered:
        raise CommandError(f"{tally.refused} refused, {tally.unanswered} without an answer; running it again is safe.")
    _check_all_found(look)


def _dry_run(look: Search, rows: Iterable[DeadLetter], verb: str, *, as_json: bool) -> Iterator[str]:
    """Yield lines that say what would be done, and what would be refused, without doing it."""
    ready = refused = 0
    for row in rows:
        config = conf.stream(row.stream)
        why = dead_letters.why_not_replayable(config, row.group, native=row.native) if verb == "replayed" else None
        ready, refused = ready + (not why), refused + bool(why)
        if not as_json:
            yield f"{row.stream} {row.entry_id} {visible(row.message_id)}{f': {why}' if why else ''}"
    if as_json:
        yield json.dumps({f"would_be_{verb}": ready, "would_be_refused": refused, **search_as_json(look)})
    else:
        yield f"{ready} would be {verb}, {refused} refused."
    _check_all_found(look)


def _check_all_found(look: Search) -> None:
    if look.missing:
        raise CommandError(f"No dead letter that fits has the id {', '.join(map(repr, look.missing))}.")
