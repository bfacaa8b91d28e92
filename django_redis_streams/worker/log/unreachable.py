"""The log of servers that can't be reached: one line for each connection and outage, whichever thread meets it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable
from math import inf
from typing import Final

from ... import connections
from ...exceptions import ServerUnreachable
from .lines import logger

__all__ = ["log_openings", "log_reached", "log_unreachable"]

# In seconds: how often the same error is logged again while an outage lasts.
_AGAIN: Final = 60.0
# In seconds: for so long after a server is back, threads may still find that they have lost their connections.
_LATE: Final = 10.0
# In seconds: a connection that takes longer to open is an outage already, though nothing has failed yet.
_SLOW: Final = 5.0
# How servers and redis-py say that the user or the password is wrong.
_CREDENTIALS: Final = re.compile(
    r"WRONGPASS|NOAUTH|\bAUTH\b|invalid (username|password)|authentication required", re.IGNORECASE
)
# How redis-py says that a connection couldn't be made, was lost, or brought no answer.
_NO_ANSWER: Final = re.compile(
    r"Error (-?\d+ )?(connecting|while)|Timeout |Connection (closed|reset)|Broken pipe|no whole reply"
)
# How links say that a node of a cluster doesn't serve a command.
_NOT_NOW: Final = re.compile(r"doesn't serve it now:")
_AWAY: Final = "away"
_FATE: Final = re.compile(r" The connection was lost before a reply came: [^.]*\.")
_TRIES: Final = "The worker tries again until it succeeds. Run `manage.py streams doctor` to find out more."
_LAST_TRIES: Final = "It is tried for a moment more, as the process stops."


class _Outage:
    """The errors that were logged of one connection, and when; `away` until a thread has reached the server again.

    It `opens` while a thread waits for long for a new connection: as long others' connections end no outage.
    """

    def __init__(self) -> None:
        self.away = self.opens = False
        self.began = 0.0
        self.back = 0.0
        self.logged: dict[str, float] = {}

    def is_news(self, error: str, now: float) -> bool:
        """Note an error, and return whether to log it: it wasn't yet logged in this outage, or only long ago."""
        late = not self.away and now - self.back < _LATE
        if late and error in self.logged:
            return False
        if not (self.away or late):
            self.logged.clear()
        if not self.away:
            self.began = now
        self.away = True
        if now - self.logged.get(error, -_AGAIN) < _AGAIN:
            return False
        self.logged[error] = now
        return True

    def ends(self, now: float) -> bool:
        """Note that a thread has reached the server, and return whether that ends an outage."""
        ended, self.away = self.away, False
        self.back = now if ended else self.back
        return ended


_outages: dict[str, _Outage] = {}
_lock = threading.Lock()
# Set once this process is to stop.
_stops = threading.Event()


def note_stop() -> None:
    """Note that this process is to stop: it tries again for a moment only."""
    _stops.set()


def _cause(error: str) -> str:
    """Return what errors have in common that threads meet in the same outage, each at its own step."""
    if _NOT_NOW.search(error):
        return "not now"
    return _AWAY if _NO_ANSWER.search(error) else error


def log_unreachable(alias: str, error: ServerUnreachable) -> None:
    """Log an error that a thread has met, once an outage; another error of the same outage is logged, too.

    Each node of a cluster has its own outages.
    """
    # Whether a command was carried out is the worker's affair: it sees to that when the server is back.
    text = _FATE.sub("", str(error))
    with _lock:
        is_news = _outages.setdefault(alias + error.node, _Outage()).is_news(_cause(text), time.monotonic())
    if not is_news:
        return
    if _NOT_NOW.search(text):
        what = "A node of the cluster of connection %r doesn't serve what is there: %r."
    elif _CREDENTIALS.search(text):
        what = "The server of connection %r refuses it, probably for its user or password: %r."
    else:
        what = "The server of connection %r can't be reached: %r. Is it running?"
    tries = _LAST_TRIES if _stops.is_set() else _TRIES
    logger.error(
        f"{what} {tries}",
        alias, text, extra={"connection": alias},
    )  # fmt: skip


def log_openings(openings: Iterable[tuple[str, float | None]]) -> None:
    """Log which connections take long to open, once an outage: a name server may take a minute before that fails.

    The threads that wait for it can't. `openings` are the connections of all threads of the process, by alias, and
    since when one is being opened, on the monotonic clock.
    """
    now, longest = time.monotonic(), dict[str, float]()
    for alias, since in openings:
        longest[alias] = max(longest.get(alias, 0.0), 0.0 if since is None else now - since)
    for alias, seconds in longest.items():
        slow = seconds > _SLOW
        if slow or alias in _outages:
            with _lock:
                outage = _outages.setdefault(alias, _Outage())
                outage.opens = slow
                is_news = slow and outage.is_news(_AWAY, now)
            if is_news:
                _log_slow(alias, seconds)


def _log_slow(alias: str, seconds: float) -> None:
    tries = _LAST_TRIES if _stops.is_set() else "The worker waits for that, and tries again if it fails."
    logger.error(
        f"The server of connection %r can't be reached: connecting to %s has taken %.0f s so far, and still goes on. "
        f"Does the name server answer? {tries}",
        alias, connections.address(alias), seconds, extra={"connection": alias},
    )  # fmt: skip


def log_reached(alias: str, answered: float = inf, node: str = "") -> None:
    """Log that a server is back, in the first thread that has reached it; else this costs nothing.

    Of a cluster: what the `node` has kept from the thread goes on, there or on another node.
    `answered` is when that thread sent what the server has answered last, on the monotonic clock: a reply to what was
    sent before the outage may be read when another thread has already lost the server.
    """
    outage = _outages.get(alias + node)
    if outage is None or not outage.away or outage.opens or answered < outage.began:
        return
    with _lock:
        first = outage.ends(time.monotonic())
    if first and node:
        text = "Connection %r: what was on the node %s of its cluster is served again."
        logger.warning(text, alias, node, extra={"connection": alias})
    elif first:
        logger.warning("The server of connection %r is back.", alias, extra={"connection": alias})
