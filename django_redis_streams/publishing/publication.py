"""One call of `publish` or `publish_many`, for middleware around it, such as a contrib package's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, Self

from ..conf import StreamConfig

__all__ = ["Publication", "add_middleware", "remove_middleware"]


class Publication:
    """The context that a call runs in. It costs next to nothing while there is no middleware.

    `headers` are those that the messages will carry, and may be replaced before the call goes on. `message_id` is
    known at the end of `publish`, `count` at the end of `publish_many`, `lane` once the call's arguments are checked.
    """

    __slots__ = ("_surrounding", "config", "count", "headers", "lane", "message_id")

    def __init__(self, config: StreamConfig, headers: Mapping[str, Any] | None) -> None:
        self.config = config
        self.headers = headers
        self.message_id = ""
        self.lane = ""
        self.count: int | None = None
        self._surrounding: ExitStack[bool | None] | None = None

    def __enter__(self) -> Self:
        if _middleware:
            with ExitStack() as stack:
                for make in _middleware:
                    context = make(self)
                    context.__enter__()
                    stack.push(partial(_leave, context))
                self._surrounding = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        if self._surrounding is not None:
            leave: Callable[..., object] = self._surrounding.__exit__
            leave(*error)


def _leave(context: AbstractContextManager[object], *error: Any) -> None:
    """Leave a context, whatever it answers: what a call raises can't be held back."""
    context.__exit__(*error)


_Middleware = Callable[[Publication], AbstractContextManager[object]]

# The outermost first.
_middleware: list[_Middleware] = []


def add_middleware(middleware: _Middleware) -> None:
    """Run each call from now on in the context that `middleware` makes for it. Added twice, it counts once.

    It is entered before anything is encoded, and left when the messages are sent, or will be on commit. What the
    call raises passes through it, and can't be held back. The first that was added is the outermost: it is entered
    first, and left last.
    """
    if middleware not in _middleware:
        _middleware.append(middleware)


def remove_middleware(middleware: _Middleware) -> None:
    """Undo `add_middleware`; do nothing if it wasn't added."""
    if middleware in _middleware:
        _middleware.remove(middleware)
