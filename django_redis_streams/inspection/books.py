"""The books of a group: everything that was published to it, and what became of it.

published + replayed + given again = acknowledged + skipped + repeated + dead-lettered + vanished + discarded + merged +
passed over + still waiting. Published comes from the counts of the streams of the lanes, the rest from the group's own
counters: neither is derived from the other. Changes by other clients are on one side or the other too, each under the
name of the sign that it left; see `store/scripts/parts/books.lua`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from .. import conf, connections
from ..store.consume.books import DONE_BY_OTHERS
from ..store.observe.overview import GroupFigures, all_figures, overview_command, overview_of
from ..store.observe.sources import group_names
from ..store.scripts import run
from .records import moment

__all__ = ["Books", "books", "group_totals"]

_COUNTED: Final = {
    "acknowledged", "skipped", "repeated", "dead_lettered", "discarded", "vanished", "retried", "replayed",
    "discarded_dead_letters", "given_again", "passed_over", "merged",
    *(each.replace("-", "_") for each in DONE_BY_OTHERS),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """How many messages of a stream are in which state for one group, now and since ever.

    `published` is how many were published to the group since it began, including those that were there for it then;
    None where the server doesn't count entries (before Redis 7.0), where nobody has kept books, and while it can't be
    told. `unread` (undelivered, redelivery included) is None where the server can't tell, as after deletions.
    `retrying` messages wait for a later run, `pending` ones are delivered and not settled. `repeated` ones were
    acknowledged unrun, as their effect was committed before. `discarded` counts discarded
    retries; `discarded_dead_letters` are counted in `dead_lettered` too. `retried` and `replayed` count each time.
    Resets have `given_again` some and `passed_over` others; `merged` counts retries of a message that waited for a
    retry already. `paused` is since when. The last five count changes by other clients: see `DONE_BY_OTHERS`.
    """

    stream: str
    group: str
    published: int | None
    unread: int | None
    pending: int
    retrying: int
    paused: datetime | None = None
    acknowledged: int = 0
    skipped: int = 0
    repeated: int = 0
    dead_lettered: int = 0
    discarded: int = 0
    vanished: int = 0
    retried: int = 0
    replayed: int = 0
    discarded_dead_letters: int = 0
    given_again: int = 0
    passed_over: int = 0
    merged: int = 0
    moved_back: int = 0
    made_again: int = 0
    dropped: int = 0
    lost_with_consumer: int = 0
    unexplained: int = 0

    @property
    def settled(self) -> int:
        """How many runs of the books ended; a replayed message ends once more."""
        unrun = self.skipped + self.repeated + self.discarded + self.vanished + self.merged
        return self.acknowledged + self.dead_lettered + unrun

    @property
    def waiting(self) -> int | None:
        """How many will still be run."""
        return None if self.unread is None else self.unread + self.pending + self.retrying

    @property
    def by_others(self) -> Mapping[str, int]:
        """How many messages other clients' changes concern, by counter; without zeros."""
        counts = {name: int(getattr(self, name.replace("-", "_"))) for name in DONE_BY_OTHERS}
        return {name: count for name, count in counts.items() if count}

    @property
    def missing(self) -> int | None:
        """How many messages are unaccounted for: 0 where the books balance, None where that can't be told."""
        if self.published is None or self.waiting is None:
            return None
        came = self.published + self.replayed + self.given_again + self.moved_back + self.made_again
        return came - self.settled - self.passed_over - self.dropped - self.lost_with_consumer - self.waiting


def books(stream: str) -> list[Books]:
    """Return the books of each group of a stream, declared or not; each exact at one moment, O(groups).

    Raises `UnknownStream`, and what a server answers: `ServerUnreachable`, redis-py's `ResponseError`.
    """
    config = conf.stream(stream)
    link = connections.get(config.connection)
    groups = group_names(link, [config])[0]
    return [_books(stream, each) for each in all_figures(link, config, groups)]


def group_totals(stream: str, group: str) -> Mapping[str, int]:
    """Return the counts of a group's outcomes since ever: {"acknowledged": 6911, "dead-lettered": 8, …}.

    A missing name counts 0. Raises what `books` raises.
    """
    config = conf.stream(stream)
    reply = run(connections.get(config.connection), overview_command(config, [group]))
    return overview_of(reply).groups[0].totals


def _books(stream: str, group: GroupFigures) -> Books:
    ever = {name.replace("-", "_"): count for name, count in group.totals.items()}
    return Books(
        stream=stream,
        group=group.name,
        published=group.published,
        unread=group.unread,
        pending=group.pending,
        retrying=group.retrying,
        paused=None if group.paused is None else moment(group.paused),
        **{name: count for name, count in ever.items() if name in _COUNTED},
    )
