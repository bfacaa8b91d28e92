"""Finding out soon that a server doesn't answer, where somebody waits at a screen or a scraper for a page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from ..exceptions import ServerUnreachable

__all__ = ["ANSWER", "ANSWERS", "Answers", "hurried"]

# In seconds: for so long an answer to a PING is waited for.
ANSWER: Final = 2.0
# In seconds: for so long a server that has answered is trusted to answer further commands.
_TRUSTED: Final = 1.0


class Answers:
    """Which servers have answered within one look at them, and the errors of the others."""

    def __init__(self) -> None:
        self._trusted: dict[str, float] = {}
        self._errors: dict[str, ServerUnreachable] = {}

    def check(self, alias: str, ask: Callable[[], None]) -> None:
        """Ask the server of a connection, unless it has just answered. Raises its first error each time."""
        if alias not in self._errors and time.monotonic() >= self._trusted.get(alias, 0.0):
            try:
                ask()
            except ServerUnreachable as error:
                self._errors[alias] = error
            else:
                self._trusted[alias] = time.monotonic() + _TRUSTED
        if alias in self._errors:
            raise self._errors[alias].with_traceback(None)


# The answers of the look that is in progress, None where nobody is in a hurry.
ANSWERS: Final[ContextVar[Answers | None]] = ContextVar("django_redis_streams.answers", default=None)


@contextmanager
def hurried() -> Iterator[None]:
    """Look at servers once, and wait for none that doesn't answer; it may be nested, and serves as a decorator.

    Within it, a kept link sends a PING before a command where the server hasn't answered for a second. A server that
    doesn't answer that within two seconds is sent nothing, and isn't asked again before the end.
    """
    token = ANSWERS.set(Answers())
    try:
        yield
    finally:
        ANSWERS.reset(token)
