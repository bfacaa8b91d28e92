"""What is around each call of a handler: given by a contrib package, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from asgiref.sync import markcoroutinefunction

from .matching import Handler

__all__ = ["wrap", "wrapped"]

_Function = Callable[[Any], Any]

_wrapper: Callable[[Handler, _Function], _Function] | None = None


def wrap(wrapper: Callable[[Handler, _Function], _Function] | None) -> None:
    """From now on handlers run as what `wrapper(handler, function)` makes of them; with None, as they are.

    It is asked once for each handler of a group, when a consumer of that is made, and not at each call.
    `function` takes a message, or a list of them, and includes the handler's transaction; it may give a coroutine,
    and then what is made of it has to give one. What is made is to be named as the function is
    (`functools.wraps`). There is one wrapper at most: the last that was given.
    """
    global _wrapper  # noqa: PLW0603  one for the process, as there is one INSTALLED_APPS
    _wrapper = wrapper


def wrapped(handler: Handler) -> Handler:
    """The handler as it is to be run; itself where nothing is around it."""
    if _wrapper is None:
        return handler
    function = _wrapper(handler, handler.in_transaction)
    if handler.is_async:
        function = markcoroutinefunction(function)
    return replace(handler, function=function, atomic=False)
