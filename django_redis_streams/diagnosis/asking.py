"""Asking all servers at once, with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Thread
from typing import Final, Generic, TypeVar

from redis.exceptions import ResponseError

from .. import connections
from ..connections import Link
from ..exceptions import ConfigurationError, ServerUnreachable

__all__ = ["ask_all"]

# Seconds for a reply. Resolving the address and connecting take time too, so callers limit the whole.
_REPLY: Final = 2

T = TypeVar("T")
Refusal = ServerUnreachable | ConfigurationError | ResponseError


def ask_all(aliases: Iterable[str], ask: Callable[[str, Link], T], *, within: float) -> Mapping[str, T | Refusal]:
    """Ask each connection by `ask`, for at most so many seconds in all; return each answer or error, by alias."""
    asked = {alias: _Asking(alias, ask, within) for alias in aliases}
    until = time.monotonic() + within
    return {alias: each.answer(until) for alias, each in asked.items()}


class _Asking(Thread, Generic[T]):
    """Asks one server. A daemon thread, as nothing waits for a hanging resolver or socket, not even the exit."""

    def __init__(self, alias: str, ask: Callable[[str, Link], T], within: float) -> None:
        super().__init__(daemon=True, name=f"question to connection {alias!r}")
        self._alias, self._ask = alias, ask
        self._answer: T | Refusal = ServerUnreachable(f"Connection {alias!r} didn't answer within {within:g} s.")
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            link = connections.open(self._alias, timeout=_REPLY)
            try:
                self._answer = self._ask(self._alias, link)
            finally:
                link.close()
        except (ServerUnreachable, ConfigurationError, ResponseError) as error:
            self._answer = error
        except BaseException as error:  # noqa: BLE001  `answer` raises it again
            self._error = error

    def answer(self, until: float) -> T | Refusal:
        self.join(max(0.0, until - time.monotonic()))
        if self._error is not None:
            raise self._error
        return self._answer
