"""One call of `publish` or `publish_many`, for who wants to be around it: a contrib package, or nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Self

from ..conf import StreamConfig

__all__ = ["Publication", "around"]


class Publication:
    """A call, as a context that it runs in. It costs next to nothing while `around` was given nothing.

    `headers` are those that the messages will carry, and may be replaced before the call goes on. `message_id` is
    known at the end of `publish`, `count` at the end of `publish_many`.
    """

    __slots__ = ("_surrounding", "config", "count", "headers", "message_id")

    def __init__(self, config: StreamConfig, headers: Mapping[str, Any] | None) -> None:
        self.config = config
        self.headers = headers
        self.message_id = ""
        self.count: int | None = None
        self._surrounding: AbstractContextManager[object] | None = None

    def __enter__(self) -> Self:
        if _around is not None:
            self._surrounding = _around(self)
            self._surrounding.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._surrounding is not None:
            leave: Callable[..., object] = self._surrounding.__exit__
            leave(*error)


_around: Callable[[Publication], AbstractContextManager[object]] | None = None


def around(make: Callable[[Publication], AbstractContextManager[object]] | None) -> None:
    """From now on each call runs in the context that `make` makes for it; with None, in none.

    It is entered before anything is encoded, and left when the messages are sent, or will be on commit. What the
    call raises passes through it, and can't be held back. There is one at most: the last that was given.
    """
    global _around  # noqa: PLW0603  one for the process, as there is one INSTALLED_APPS
    _around = make
