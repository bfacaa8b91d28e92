"""Which function runs for which messages of which group. Running them is the worker's business.

Handlers are declared by `@handler` in each installed app's `stream_handlers` module and in `HANDLER_MODULES`.
These are imported when somebody first asks for handlers, never at start-up.
"""

from __future__ import annotations

import inspect
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, TypeVar

from asgiref.sync import iscoroutinefunction
from django.apps import apps
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS
from django.dispatch import receiver
from django.utils.module_loading import module_has_submodule

from . import conf
from .conf import GroupConfig, values
from .exceptions import ConfigurationError, HandlerError
from .retry import RetryPolicy

__all__ = ["Handler", "HandlerSet", "handler", "isolated", "of", "registered"]

Function = TypeVar("Function", bound=Callable[..., Any])
Exceptions = type[Exception] | Sequence[type[Exception]]

# The module of an app that is looked for.
_MODULE: Final = "stream_handlers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A function and what it was declared to take.

    `types` are names and patterns; empty, it takes what no other handler of its group does. `atomic` is the
    alias of the database that a transaction is opened in, or False. What is None is the group's to decide.
    """

    function: Callable[[Any], Any]
    stream: str
    group: str
    types: tuple[str, ...] = ()
    batch: bool = False
    atomic: str | bool = False
    max_retries: int | None = None
    backoff: tuple[float, float] | None = None
    retry_on: tuple[type[Exception], ...] | None = None
    reject_on: tuple[type[Exception], ...] = ()

    @property
    def name(self) -> str:
        """The function's dotted name."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def is_async(self) -> bool:
        """Whether calling it gives a coroutine."""
        return iscoroutinefunction(self.function)

    def policy(self, group: GroupConfig) -> RetryPolicy:
        """How its messages are retried: its own options over its group's settings."""
        return RetryPolicy(
            max_retries=group.max_retries if self.max_retries is None else self.max_retries,
            backoff=group.backoff if self.backoff is None else self.backoff,
            retry_on=self.retry_on,
            reject_on=self.reject_on,
        )


class HandlerSet:
    """The handlers of one group. Raises `HandlerError` where two take the same type."""

    def __init__(self, handlers: Sequence[Handler]) -> None:
        self._handlers = tuple(handlers)
        by_type: dict[str | None, Handler] = {}
        for each in self._handlers:
            for name in each.types or (None,):
                other = by_type.setdefault(name, each)
                if other is not each:
                    raise _clash(other, each, name)
        self._rest = by_type.pop(None, None)
        patterns = sorted((name for name in by_type if name and "*" in name), key=_inexactness)
        self._patterns = [(_pattern(name), by_type.pop(name)) for name in patterns]
        self._exact = by_type

    def find(self, type: str) -> Handler | None:  # noqa: A002  the message's own word for it
        """The handler of a message of this type: the exact name, else the most exact pattern, else the rest's."""
        found = self._exact.get(type)
        if found is not None:
            return found
        for pattern, handler in self._patterns:
            if pattern.fullmatch(type):
                return handler
        return self._rest

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)


def handler(
    stream: str,
    *,
    group: str,
    type: str | Sequence[str] | None = None,  # noqa: A002  the message's own word for it
    batch: bool = False,
    atomic: bool | str = False,
    max_retries: int | None = None,
    backoff: tuple[float | timedelta, float | timedelta] | None = None,
    retry_on: Exceptions | None = None,
    reject_on: Exceptions = (),
) -> Callable[[Function], Function]:
    """Declare a function of one argument as handler of a stream's group; it stays the function it is.

    It is called with a `Message`, with `batch=True` with a list of them. Where it returns, the message is
    acknowledged; where it raises, it is retried and then dead-lettered.

    `type`: a name, a pattern with `*` ("order.*") or a list of these; the most exact one of a group's
    handlers wins. Without it: what no other handler of the group takes.
    `atomic`: True or a database's alias runs each call in a transaction of that database.
    `max_retries`, `backoff` ((base, cap) in seconds): over the group's `MAX_RETRIES` and `BACKOFF`.
    `retry_on`: only these exceptions are retried. `reject_on`: these never are; it wins.

    Raises `HandlerError` at once for what can't work. Reads no settings: whether the stream and the group
    are declared is for the system checks to say.
    """
    options: dict[str, Any] = {
        "stream": _accepted("stream", values.text, stream),
        "group": _accepted("group", values.text, group),
        "types": () if type is None else _accepted("type", _types, type),
        "batch": _accepted("batch", values.boolean, batch),
        "atomic": _accepted("atomic", _atomic, atomic),
        "max_retries": _accepted("max_retries", values.optional(values.whole), max_retries),
        "backoff": _accepted("backoff", values.optional(values.pair), backoff),
        "retry_on": _accepted("retry_on", values.optional(_exceptions), retry_on),
        "reject_on": _accepted("reject_on", _exceptions, reject_on),
    }

    def declare(function: Function) -> Function:
        _check_function(function)
        declared = Handler(function=function, **options)
        if declared.atomic and declared.is_async:
            raise HandlerError(
                f"@handler(atomic={atomic!r}) on {declared.name}: a coroutine can't run in a transaction. "
                "Expected atomic=False; open the transaction in a function called by sync_to_async()."
            )
        _registry.handlers.append(declared)
        return function

    return declare


def of(stream: str, group: str) -> HandlerSet:
    """The handlers of one group, imported if need be. Raises `HandlerError` where two take the same type."""
    return HandlerSet([each for each in registered() if (each.stream, each.group) == (stream, group)])


def registered() -> tuple[Handler, ...]:
    """All handlers of the project, imported if need be.

    An error in a module that declares them is raised as it is; `ConfigurationError` says that
    `HANDLER_MODULES` names one that isn't there.
    """
    _registry.discover()
    return tuple(_registry.handlers)


@contextmanager
def isolated() -> Iterator[None]:
    """Within it no handlers count but those declared within it, and no module is imported. For tests."""
    global _registry  # noqa: PLW0603  replaced whole and put back
    outer, _registry = _registry, _Registry(modules=lambda: ())
    try:
        yield
    finally:
        _registry = outer


def _modules() -> Iterator[str]:
    """Names of the modules that declare handlers."""
    for app in apps.get_app_configs():
        if app.module is not None and module_has_submodule(app.module, _MODULE):
            yield f"{app.name}.{_MODULE}"
    for name in conf.get().handler_modules:
        if not _exists(name):
            raise ConfigurationError(
                f"REDIS_STREAMS['HANDLER_MODULES'] names {name!r}: expected a module that can be imported, by "
                "its dotted name."
            )
        yield name


def _exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError as error:
        # That a package on the way isn't there is an answer; that one of them fails to import something isn't.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return False
        raise
    except ValueError:
        return False


@dataclass
class _Registry:
    """What was declared so far, and whether there may be more to import."""

    modules: Callable[[], Iterable[str]] = _modules
    handlers: list[Handler] = field(default_factory=list)
    complete: bool = False
    # Reentrant: a module that is being imported may itself ask for handlers.
    lock: threading.RLock = field(default_factory=threading.RLock)

    def discover(self) -> None:
        """Import what declares handlers, unless that is done."""
        if self.complete:
            return
        with self.lock:
            try:
                for module in self.modules():
                    import_module(module)
            except BaseException:
                # A module that fails is imported again next time: what it declared so far would be there twice.
                self.handlers[:] = [each for each in self.handlers if each.function.__module__ in sys.modules]
                raise
            self.complete = True


_registry = _Registry()


@receiver(setting_changed, dispatch_uid="django_redis_streams.handlers")
def _search_again(*, setting: str, **_: Any) -> None:
    """Other settings may name further modules. What was declared stays: no module is run twice."""
    if setting in {"REDIS_STREAMS", "INSTALLED_APPS"}:
        _registry.complete = False


def _accepted(option: str, accept: Callable[[Any], Any], value: Any) -> Any:
    try:
        return accept(value)
    except ValueError as error:
        raise HandlerError(f"@handler({option}={value!r}): {error}.") from None


def _types(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) and value:
        return (value,)
    try:
        return values.some(value)
    except ValueError:
        raise ValueError("expected a type's name, a pattern such as 'order.*', or a list of these") from None


def _atomic(value: Any) -> str | bool:
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
    """Refuse what can't be called with one argument, and what only seems to run when it is called."""
    if not inspect.isroutine(function):
        raise HandlerError(f"@handler on {function!r}: expected a function.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise HandlerError(f"@handler on {function!r}: it yields, so a call would run none of it. Expected a function.")
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise HandlerError(
            f"@handler on {function!r}: expected a function of one argument, the message ({error})."
        ) from None


def _inexactness(pattern: str) -> tuple[int, int, str]:
    """What sorts the most exact pattern first: more characters to match, then fewer stars, then the alphabet."""
    stars = pattern.count("*")
    return stars - len(pattern), stars, pattern


def _pattern(text: str) -> re.Pattern[str]:
    """Matches a whole type; `*` stands for any text, dots and nothing at all included."""
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)


def _clash(first: Handler, second: Handler, type: str | None) -> HandlerError:  # noqa: A002  as above
    what = "every type that no other handler takes" if type is None else f"the type {type!r}"
    return HandlerError(
        f"{first.name} and {second.name} both take {what} in group {first.group!r} of stream {first.stream!r}: "
        "a message has one handler in each group."
    )
