"""The log of servers that can't be reached: one line for each connection and outage, whichever thread meets it."""

from __future__ import annotations

import re
import threading
import time
from typing import Final

from ..exceptions import ServerUnreachable
from .log import logger

__all__ = ["log_reached", "log_unreachable"]

# In seconds: how often the same error is logged again while an outage lasts.
_AGAIN: Final = 60.0
# In seconds: for so long after a server is back, threads may still find that they have lost their connections.
_LATE: Final = 10.0
# How servers and redis-py say that the user or the password is wrong.
_CREDENTIALS: Final = re.compile(
    r"WRONGPASS|NOAUTH|\bAUTH\b|invalid (username|password)|authentication required", re.IGNORECASE
)


class _Outage:
    """The errors that were logged of one connection, and when; `away` until a thread has reached the server again."""

    def __init__(self) -> None:
        self.away = False
        self.back = 0.0
        self.logged: dict[str, float] = {}

    def is_news(self, error: str, now: float) -> bool:
        """Note an error, and return whether to log it: it wasn't yet logged in this outage, or only long ago."""
        late = not self.away and now - self.back < _LATE
        if late and error in self.logged:
            return False
        if not (self.away or late):
            self.logged.clear()
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


def log_unreachable(alias: str, error: ServerUnreachable) -> None:
    """Log an error that a thread has met, once an outage; another error of the same outage is logged, too."""
    text = str(error)
    with _lock:
        is_news = _outages.setdefault(alias, _Outage()).is_news(text, time.monotonic())
    if not is_news:
        return
    if _CREDENTIALS.search(text):
        what = "The server of connection %r refuses it, probably for its user or password: %r."
    else:
        what = "The server of connection %r can't be reached: %r. Is it running?"
    logger.error(
        f"{what} The worker tries again until it succeeds. Run `manage.py streams doctor` to find out more.",
        alias, text, extra={"connection": alias},
    )  # fmt: skip


def log_reached(alias: str) -> None:
    """Log that a server is back, in the first thread that has reached it; else this costs nothing."""
    outage = _outages.get(alias)
    if outage is None or not outage.away:
        return
    with _lock:
        first = outage.ends(time.monotonic())
    if first:
        logger.warning("The server of connection %r is back.", alias, extra={"connection": alias})
