"""`@handler`: what can be wrong with a declaration is found when it is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar

from django.db import DEFAULT_DB_ALIAS

from ..conf import values
from ..exceptions import HandlerError
from .matching import Handler
from .registry import add

__all__ = ["handler"]

Function = TypeVar("Function", bound=Callable[..., Any])
Exceptions = type[Exception] | Sequence[type[Exception]]


def handler(
    stream: str,
    *,
    group: str,
    type: str | Sequence[str] | None = None,  # noqa: A002  the message's own word for it
    batch: bool = False,
    atomic: bool | str = False,
    once: bool | str = False,
    max_retries: int | None = None,
    backoff: tuple[float | timedelta, float | timedelta] | None = None,
    retry_on: Exceptions | None = None,
    reject_on: Exceptions = (),
    timeout: float | timedelta | None = None,
) -> Callable[[Function], Function]:
    """Declare a function of one argument as handler of a stream's group; it stays the function it is.

    It is called with a `Message`, with `batch=True` with a list of them. Where it returns, the message is
    acknowledged; where it raises, it is retried and then dead-lettered.

    `type`: a name, a pattern with `*` ("order.*") or a list of these; the most exact one of a group's
    handlers wins. Without it: what no other handler of the group takes.
    `atomic`: True or a database's alias runs each call in a transaction of that database.
    `once`: the same, and a message whose transaction was committed before is acknowledged unrun. Needs the app
    `django_redis_streams.inbox`.
    `max_retries`, `backoff` ((base, cap) in seconds): over the group's `MAX_RETRIES` and `BACKOFF`.
    `retry_on`: only these exceptions are retried. `reject_on`: these never are; it wins.
    `timeout`: seconds that a call may take, over the group's `TIMEOUT`.

    Raises `HandlerError` at once for what can't work. Reads no settings: whether the stream and the group
    are declared is for the system checks to say.
    """
    options: dict[str, Any] = {
        "stream": _accepted("stream", values.text, stream),
        "group": _accepted("group", values.text, group),
        "types": () if type is None else _accepted("type", _types, type),
        "batch": _accepted("batch", values.boolean, batch),
        **_transaction(atomic, once),
        "max_retries": _accepted("max_retries", values.optional(values.whole), max_retries),
        "backoff": _accepted("backoff", values.optional(values.pair), backoff),
        "retry_on": _accepted("retry_on", values.optional(_exceptions), retry_on),
        "reject_on": _accepted("reject_on", _exceptions, reject_on),
        "timeout": _accepted("timeout", values.optional(values.duration), timeout),
    }

    def declare(function: Function) -> Function:
        _check_function(function)
        declared = Handler(function=function, **options)
        if declared.atomic and declared.is_async:
            option, value, claim = ("once", once, ", and call inbox.claim() first") if once else ("atomic", atomic, "")
            raise HandlerError(
                f"@handler({option}={value!r}) on {declared.name}: a coroutine can't run in a transaction. Expected "
                f"{option}=False; open the transaction in a function called by sync_to_async(){claim}."
            )
        add(declared)
        return function

    return declare


def _accepted(option: str, accept: Callable[[Any], Any], value: Any) -> Any:
    try:
        return accept(value)
    except ValueError as error:
        raise HandlerError(f"@handler({option}={value!r}): {error}.") from None


def _types(value: Any) -> tuple[str, ...]:
    try:
        given = values.some((value,) if isinstance(value, str) else value)
    except ValueError:
        raise ValueError("expected a type's name, a pattern such as 'order.*', or a list of these") from None
    for each in given:
        values.message_type(each)
    return given


def _transaction(atomic: Any, once: Any) -> dict[str, Any]:
    """Return in which database's transaction a handler runs, and whether the inbox is in there, too."""
    database = _accepted("atomic", _atomic, atomic)
    with_inbox = _accepted("once", _atomic, once)
    if with_inbox and database not in (False, with_inbox):
        raise HandlerError(
            f"@handler(atomic={atomic!r}, once={once!r}): the message is remembered in the handler's own transaction, "
            f"so both are of one database. Expected once={database!r}, or once={once!r} alone, which implies atomic."
        )
    return {"atomic": with_inbox or database, "once": with_inbox is not False}


def _atomic(value: Any) -> str | Literal[False]:
    if isinstance(value, bool):
        return DEFAULT_DB_ALIAS if value else False
    if not isinstance(value, str) or not value:
        raise ValueError("expected True, False or the alias of a database")
    return value


def _exceptions(value: Any) -> tuple[type[Exception], ...]:
    found = tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(each, type) and issubclass(each, Exception) for each in found):
        raise ValueError("expected an exception class or a list of such")
    return found


def _check_function(function: Any) -> None:
    """Refuse a function that can't be called with one argument, or that only seems to run when it is called."""
    name = f"{function.__module__}.{function.__qualname__}" if inspect.isroutine(function) else repr(function)
    if not inspect.isroutine(function):
        raise HandlerError(f"@handler on {name}: expected a function.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise HandlerError(f"@handler on {name}: it yields, so a call would run none of it. Expected a function.")
    signature = inspect.signature(function)
    try:
        signature.bind(None)
    except TypeError:
        raise HandlerError(
            f"@handler on {name}: it can't be called with one argument, as its arguments are {signature}. "
            "Expected a function that takes the message, such as `def charge(message)`."
        ) from None
