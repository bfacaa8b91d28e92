"""Middleware around each call of a handler, such as a contrib package's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from asgiref.sync import markcoroutinefunction

from .matching import Handler

__all__ = ["add_middleware", "remove_middleware", "wrapped"]

_Function = Callable[[Any], Any]
_Middleware = Callable[[Handler, _Function], _Function]

# The outermost first.
_middleware: list[_Middleware] = []


def add_middleware(middleware: _Middleware) -> None:
    """Run handlers from now on as what `middleware(handler, function)` makes of them. Added twice, it counts once.

    It is asked once for each handler of a group, when a consumer of the group is made, and not at each call.
    `function` takes a message, or a list of them, and includes the handler's transaction. If it gives a coroutine,
    what `middleware` makes has to give one too. What it makes is to be named as the function is (`functools.wraps`).
    The first that was added is the outermost: it is called first, and ends last.
    """
    if middleware not in _middleware:
        _middleware.append(middleware)


def remove_middleware(middleware: _Middleware) -> None:
    """Undo `add_middleware`; do nothing if it wasn't added."""
    if middleware in _middleware:
        _middleware.remove(middleware)


def wrapped(handler: Handler, consumer: str = "") -> Handler:
    """Return the handler with all middleware around it, or the handler itself if there is no middleware.

    Middleware reads the name of the consumer that is to run it at `handler.consumer`.
    """
    if not _middleware:
        return handler
    handler = replace(handler, consumer=consumer)
    function = handler.in_transaction
    for middleware in reversed(_middleware):
        function = middleware(handler, function)
        if handler.is_async:
            function = markcoroutinefunction(function)
    return replace(handler, function=function, atomic=False, once=False)
