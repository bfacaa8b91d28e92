"""All handlers of the project: what was declared, and the modules where there may be more."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from django.apps import apps
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import module_has_submodule

from .. import conf
from ..exceptions import ConfigurationError, HandlerError
from ..inbox.presence import HOW_TO_INSTALL, is_installed
from .broken import BrokenModule
from .matching import Handler, HandlerSet
from .wrapping import wrapped

__all__ = ["add", "broken", "isolated", "of", "registered"]

# The module of an app that is looked for.
_MODULE: Final = "stream_handlers"


def of(stream: str, group: str, consumer: str = "") -> HandlerSet:
    """Return the handlers of one group as they are to be run, by the consumer of that name, imported if need be.

    Raises `HandlerError` where two take the same type, where one has `once` and the inbox isn't installed, and where a
    module can't be imported that may have handlers of the group.
    """
    declared = registered()
    for module in broken():
        if module.may_serve(stream, group):
            raise HandlerError(str(module)) from module.error
    found = [each for each in declared if (each.stream, each.group) == (stream, group)]
    for each in found:
        if each.once and not is_installed():
            raise HandlerError(f"{each.name} has once=True, which needs a table: {HOW_TO_INSTALL}")
    return HandlerSet([wrapped(each, consumer) for each in found])


def registered() -> tuple[Handler, ...]:
    """Return all handlers of the project, imported if need be; without those of modules that are `broken`.

    Raises `ConfigurationError` where `HANDLER_MODULES` names a module that isn't there.
    """
    _registry.discover()
    return tuple(_registry.handlers)


def broken() -> tuple[BrokenModule, ...]:
    """Return the modules that couldn't be imported when it was last tried."""
    return tuple(_registry.broken)


def add(handler: Handler) -> None:
    """Register a handler."""
    _registry.handlers.append(handler)


@contextmanager
def isolated() -> Iterator[None]:
    """Count only the handlers that are declared within it, and import no module. For tests."""
    global _registry  # noqa: PLW0603  replaced whole and put back
    outer, _registry = _registry, _Registry(modules=lambda: ())
    try:
        yield
    finally:
        _registry = outer


def _modules() -> Iterator[str]:
    """Yield the names of the modules that declare handlers."""
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
    if not all(part.isidentifier() for part in name.split(".")):
        return False
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError as error:
        # A package on the way that isn't there is an answer; one that fails to import something isn't.
        return not (error.name is not None and f"{name}.".startswith(f"{error.name}."))
    except Exception:  # noqa: BLE001  a package on the way may raise anything; who imports the module is told
        return True


@dataclass
class _Registry:
    """What was declared so far, and whether there may be more to import."""

    modules: Callable[[], Iterable[str]] = _modules
    handlers: list[Handler] = field(default_factory=list)
    broken: list[BrokenModule] = field(default_factory=list)
    complete: bool = False
    # One thread at a time: while one takes back what a failed module declared, another may have just declared some.
    # Reentrant: a module that is being imported may itself ask for handlers.
    lock: threading.RLock = field(default_factory=threading.RLock)

    def discover(self) -> None:
        """Import the modules that declare handlers, unless that is done."""
        if self.complete:
            return
        with self.lock:
            self.broken[:] = [each for each in map(self._broken, self.modules()) if each is not None]
            self.complete = not self.broken

    def _broken(self, module: str) -> BrokenModule | None:
        """Import a module, and return what is wrong if it can't be."""
        try:
            import_module(module)
        except BaseException as error:
            # It is imported again next time: what it declared so far would be there twice.
            self.handlers[:] = [each for each in self.handlers if each.function.__module__ in sys.modules]
            if isinstance(error, Exception):
                return BrokenModule.of(module, error)
            raise
        return None


_registry = _Registry()


@receiver(setting_changed, dispatch_uid="django_redis_streams.handlers")
def _search_again(*, setting: str, **_: Any) -> None:
    """Search again when settings may name further modules. What was declared stays: no module is run twice."""
    if setting in {"REDIS_STREAMS", "INSTALLED_APPS"}:
        _registry.complete = False
