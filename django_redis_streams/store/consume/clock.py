"""The server's clock: what it shows, what is known of its jumps, and how waits are shortened when it went back.

By its clock the server tells when a retry is due and for how long an entry is idle. Machines' clocks are corrected,
virtual machines are suspended, and a replica that takes over has a clock of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...connections import Link
from ...keys import StreamKeys
from ..scripts import Command, run, script
from .asking import ask_each

__all__ = [
    "TOLERATED_MS", "ClockRecord", "latest_seen", "note_jump", "reset_idle", "seconds_ahead", "server_time", "shorten",
    "time_command", "time_of",
]  # fmt: skip

# Less than this is no jump: neither the latest time seen nor the time a reply takes is known more exactly.
TOLERATED_MS = 1_000
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class ClockRecord:
    """Times of the server's clock, in ms since 1970; `now` is what it shows.

    `seen` is the latest time that workers have seen. `jump` is by how many ms the clock jumped last, at `jumped`:
    negative if it went back, 0 if no jump is known. `newest` is the time in the last id of the stream's lanes.
    """

    now: int
    seen: int = 0
    jump: int = 0
    jumped: int = 0
    newest: int = 0

    def jump_within(self, ms: int) -> int:
        """Return by how many ms the clock has jumped, negative if it went back; 0 if that is at least `ms` ms ago.

        A clock that shows less than workers have seen has gone back, even if none has recorded that yet.
        """
        if self.seen - self.now > TOLERATED_MS:
            return self.now - self.seen
        return self.jump if self.now - self.jumped < ms else 0

    @property
    def ids_ahead(self) -> float:
        """By how many seconds the last id is ahead of the clock; 0 if it isn't."""
        ahead = self.newest - self.now
        return ahead / 1000 if ahead > TOLERATED_MS else 0.0


def server_time(link: Link) -> int:
    """Return what the server's clock shows, in ms since 1970."""
    return time_of(link.call(*time_command()))


def time_command() -> Command:
    """Ask a server what its clock shows, for `time_of`."""
    return ["TIME"]


def time_of(reply: Any) -> int:
    """Return the time that the server replied with, in ms since 1970."""
    seconds, microseconds = reply
    return int(seconds) * 1000 + int(microseconds) // 1000


def latest_seen(link: Link, each_keys: Sequence[StreamKeys]) -> Sequence[int]:
    """Return the latest time that workers have recorded for each of some streams, in ms; 0 where none can be read.

    Asks for all of them at once.
    """
    replies = ask_each(link, [["HGET", keys.clock, "seen"] for keys in each_keys])
    return [int(each) if isinstance(each, str) and each.isdecimal() else 0 for each in replies]


def seconds_ahead(shown: int, asked: float, answered: float) -> float:
    """Return how many seconds a server's clock shows more than this host's, at least; negative where it shows less.

    The server's showed `shown` ms at some moment between `asked` and `answered`, seconds by this host's.
    """
    return max(0.0, shown / 1000 - answered) or min(0.0, (shown + 1) / 1000 - asked)


def shorten(link: Link, keys: StreamKeys, groups: Sequence[str]) -> Iterator[int]:
    """Hold each waiting message to its original wait, counted from now; yield how many each step made due sooner."""
    for waiting, entries in [
        (keys.delayed, keys.delayed_entries),
        *((keys.retry(group), keys.retry_entries(group)) for group in groups),
    ]:
        cursor = "0"
        while True:
            cursor, sooner = run(link, script("shorten")([keys.main, waiting, entries], cursor, _AT_ONCE))
            yield sooner
            if cursor == "0":
                break


def reset_idle(link: Link, keys: StreamKeys, key: str, group: str, returned_ms: int) -> Iterator[int]:
    """Count from now for how long what is pending under `key` has been idle; yield for how many entries, in each step.

    What was handed back counts as idle for `returned_ms`, so it may be claimed at once.
    """
    begin = "-"
    while begin:
        begin, anew = run(link, script("reset_idle")([key, keys.notices], group, begin, _AT_ONCE, returned_ms))
        yield anew


def note_jump(link: Link, keys: StreamKeys, by_ms: int, *, shortened_since: int | None = None) -> int | None:
    """Record by how much the clock jumped; `shortened_since` is when `shorten` began, if it was called.

    Returns None, or the server's time in ms if the clock went back again meanwhile: then `shorten` must be called anew.
    """
    began = "" if shortened_since is None else shortened_since
    now = run(link, script("note_jump")([keys.main, keys.clock], by_ms, began))
    return int(now) if now else None
