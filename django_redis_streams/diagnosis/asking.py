"""Asking servers, all at once, and waiting for none for long."""

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

# Seconds for a reply. Finding the address and connecting take their own time, so an end is set to all of it.
_REPLY: Final = 2
_ALL: Final = 6

T = TypeVar("T")
Refusal = ServerUnreachable | ConfigurationError | ResponseError


def ask_all(
    aliases: Iterable[str], ask: Callable[[str, Link], T], *, within: float | None = None
) -> Mapping[str, T | Refusal]:
    """Return what `ask` finds out by a link to each connection, or why it couldn't in so many seconds, by alias."""
    within = _ALL if within is None else within
    asked = {alias: _Asking(alias, ask, within) for alias in aliases}
    until = time.monotonic() + within
    return {alias: each.answer(until) for alias, each in asked.items()}


class _Asking(Thread, Generic[T]):
    """Asks one server. A daemon: where a resolver or a socket hangs, it isn't waited for, at exit neither."""

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
        except BaseException as error:  # noqa: BLE001  raised again where the answer is waited for
            self._error = error

    def answer(self, until: float) -> T | Refusal:
        self.join(max(0.0, until - time.monotonic()))
        if self._error is not None:
            raise self._error
        return self._answer
