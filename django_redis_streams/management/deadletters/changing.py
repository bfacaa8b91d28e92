"""`manage.py deadletters replay` and `discard`: as many as are meant, at a rate, stopped and begun again at will."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ... import conf
from ...exceptions import InvalidMessage, ServerUnreachable
from ...inspection import DeadLetter, visible
from ...operations import dead_letters
from ...operations.dead_letters import Done, Search
from ..arguments import count
from ..options import add_by, by
from ..subcommands import Result, Subcommand
from .arguments import add_selection, rate, search
from .listing import far, told
from .payloads import edited, given
from .progress import Progress

__all__ = ["DISCARD", "REPLAY"]

# So many refusals are told one by one.
_MOST_TOLD: Final = 20
_STOPPED: Final = 130

Change = Callable[[Iterable[DeadLetter]], Iterable[Done]]


def _add_replay(parser: CommandParser) -> None:
    """The arguments of `replay`."""
    _add_run(parser)
    edit = parser.add_mutually_exclusive_group()
    edit.add_argument("--edit", action="store_true", help="Edit the payload of the one message in $EDITOR before.")
    edit.add_argument("--payload", metavar="JSON", help='Give the one message this payload; "-": standard input.')


def _add_discard(parser: CommandParser) -> None:
    """The arguments of `discard`."""
    _add_run(parser)
    parser.add_argument("--no-input", "--noinput", action="store_false", dest="interactive", help="Don't ask.")


def _add_run(parser: CommandParser) -> None:
    add_selection(parser, scan=None)
    parser.add_argument("--limit", type=count, default=None, help="So many at most, the oldest first.")
    parser.add_argument("--rate", type=rate, default=None, help="So many in a time at most: 50/s, 100/m.")
    parser.add_argument("--dry-run", action="store_true", help="Only tell which.")
    add_by(parser)


def _replay(options: Mapping[str, Any]) -> Iterator[str]:
    """Replay what is meant, and tell how it went."""
    look = search(options, newest_first=False)
    if options["edit"] or options["payload"] is not None:
        yield from _replay_edited(look, options)
    else:
        who = by(options)
        yield from _run(look, "replayed", lambda rows: dead_letters.replay_each(rows, by=who, rate=options["rate"]),
                        options)  # fmt: skip


def _discard(options: Mapping[str, Any]) -> Iterator[str]:
    """Discard what is meant, once it is confirmed, and tell how it went."""
    if options["interactive"] and not options["dry_run"]:
        _confirm(sum(1 for _ in islice(search(options, newest_first=False), options["limit"])))
    look, who = search(options, newest_first=False), by(options)
    yield from _run(look, "discarded", lambda rows: dead_letters.discard_each(rows, by=who, rate=options["rate"]),
                    options)  # fmt: skip


@dataclass(slots=True)
class _Tally:
    """What came of a run so far."""

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
            yield json.dumps({**counts, "refusals": refusals, "stopped": stopped, **far(look)})
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


def _run(look: Search, verb: str, change: Change, options: Mapping[str, Any]) -> Iterator[str]:
    rows = islice(look, options["limit"])
    if options["dry_run"]:
        yield from _would(look, rows, verb, as_json=options["json"])
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
    progress.end()
    yield from tally.lines(look, as_json=options["json"], stopped=stopped)
    if stopped:
        # Each is moved in one step on the server: none is done by halves, and a second run meets only what is left.
        raise SystemExit(_STOPPED)
    if lost:
        raise CommandError(f"{lost} What wasn't told as {verb} may have been; running it again is safe.")
    if tally.refused or tally.unanswered:
        raise CommandError(f"{tally.refused} refused, {tally.unanswered} without an answer; running it again is safe.")


def _would(look: Search, rows: Iterable[DeadLetter], verb: str, *, as_json: bool) -> Iterator[str]:
    """What would be done, without doing it; refusals that are known before are told."""
    ready = refused = 0
    for row in rows:
        config = conf.stream(row.stream)
        why = dead_letters.why_not_replayable(config, row.group, native=row.native) if verb == "replayed" else None
        ready, refused = ready + (not why), refused + bool(why)
        if not as_json:
            yield f"{row.stream} {row.entry_id} {visible(row.message_id)}{f': {why}' if why else ''}"
    if as_json:
        yield json.dumps({f"would_be_{verb}": ready, "would_be_refused": refused, **far(look)})
    else:
        yield f"{ready} would be {verb}, {refused} refused."


def _confirm(number: int) -> None:
    """Ask whether so many shall be deleted. Raises `CommandError` where that isn't answered by yes."""
    if not number:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{number} would be discarded, and nobody can be asked: say --no-input.", returncode=2)
    if input(f"Discard {number} dead letters for good? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was discarded.")


def _replay_edited(look: Search, options: Mapping[str, Any]) -> Iterator[str]:
    rows = list(islice(look, 2))
    if len(rows) != 1:
        raise CommandError(
            f"--edit and --payload take exactly one dead letter, {'several' if rows else 'none'} fit: name its id, and "
            "its --stream.",
            returncode=2,
        )
    (row,) = rows
    payload = edited(row) if options["edit"] else given(options["payload"])
    if options["dry_run"]:
        yield f"{row.stream} {row.entry_id} would be replayed with {json.dumps(payload)}"
        return
    try:
        answers = dead_letters.replay_edited(row.stream, row.entry_id, payload, by=by(options))
    except InvalidMessage as error:
        raise CommandError(f"{error} Nothing was done.", returncode=2) from error
    for why in answers.refused.values():
        raise CommandError(str(why))
    if answers.unanswered:
        raise CommandError("The server was lost before it answered; running it again is safe.")
    yield json.dumps({"replayed": 1, "dead_letter": told(row)}) if options["json"] else "1 edited and replayed."


REPLAY: Final = Subcommand(
    name="replay",
    help="Gives them back to the groups that they failed in.",
    add_arguments=_add_replay,
    run=lambda options: Result(told=None, lines=_replay(options)),
)
DISCARD: Final = Subcommand(
    name="discard",
    help="Deletes them for good.",
    add_arguments=_add_discard,
    run=lambda options: Result(told=None, lines=_discard(options)),
)
