"""Checks of handlers against the declared streams and groups, and against the types that models publish."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from django.apps import apps
from django.core import checks
from django.db import connections as databases

from .. import conf, handlers
from ..conf import GroupConfig, StreamConfig, nearest
from ..exceptions import ConfigurationError, HandlerError, UnknownStream
from ..handlers import Handler, HandlerSet, registry
from ..handlers.broken import BrokenModule
from ..model_events import declared
from .settings import TAG, when_settings_are_sound

__all__ = ["check_handlers"]

Groups = Mapping[tuple[str, str], Sequence[Handler]]

_EVENTS: Final = ("created", "updated", "deleted")
# The likeness of two types that differ in a letter or two, by a slip. "order" and "offer" are less alike.
_NEARLY: Final = 0.9


@when_settings_are_sound
def check_handlers() -> Iterator[checks.CheckMessage]:
    """E010 to E015, W010 and W011."""
    try:
        found = handlers.registered()
    except ConfigurationError as error:
        yield checks.Error(str(error), hint="Correct the name, or install what holds it.", id=f"{TAG}.E014")
        return
    broken = registry.broken()
    for module in broken:
        yield from _broken(module)
    groups: dict[tuple[str, str], list[Handler]] = defaultdict(list)
    for handler in found:
        groups[handler.stream, handler.group].append(handler)
        yield from _databases(handler)
        yield from _awaited(handler)
    for (stream, group), members in groups.items():
        yield from _undeclared(stream, group, members)
    for config in conf.get().streams.values():
        for each in config.groups.values():
            if not any(module.may_serve(config.name, each.name) for module in broken):
                yield from _group(config, each, groups.get((config.name, each.name), ()))


def _broken(module: BrokenModule) -> Iterator[checks.CheckMessage]:
    left = [
        f"{stream.name}:{group}"
        for stream in conf.get().streams.values()
        for group in stream.groups
        if module.may_serve(stream.name, group)
    ]
    yield checks.Error(
        str(module),
        hint=f"Correct it. Until then no worker serves {', '.join(left)}." if left else "Correct it.",
        id=f"{TAG}.E015",
    )


def _undeclared(stream: str, group: str, members: Sequence[Handler]) -> Iterator[checks.CheckMessage]:
    try:
        conf.group(stream, group)
    except UnknownStream as error:
        names = " and ".join(each.name for each in members)
        yield checks.Error(
            f"{names} would never be run: {error}",
            hint=f"Declare it, or correct @handler of {names}.",
            id=f"{TAG}.E010",
        )


def _databases(handler: Handler) -> Iterator[checks.CheckMessage]:
    if handler.atomic and handler.atomic not in databases:
        option = "once" if handler.once else "atomic"
        yield checks.Error(
            f"{handler.name} has {option}={handler.atomic!r}, which is no database."
            f"{nearest(handler.atomic, databases)}",
            hint="Name an alias of DATABASES.",
            obj=f"{handler.stream}:{handler.group}",
            id=f"{TAG}.E013",
        )


def _group(stream: StreamConfig, group: GroupConfig, members: Sequence[Handler]) -> Iterator[checks.CheckMessage]:
    where = f"Group {group.name!r} of stream {stream.name!r}"
    if not members:
        yield checks.Warning(
            f"{where} has no handler: its messages wait, and the stream can't be trimmed past them.",
            hint="Write one in a module stream_handlers of an app. Silence this where another program consumes it.",
            id=f"{TAG}.W010",
        )
        return
    try:
        found = HandlerSet(members)
    except HandlerError as error:
        hint = "Give one of them another type, or merge them."
        yield checks.Error(str(error), hint=hint, obj=f"{stream.name}:{group.name}", id=f"{TAG}.E011")
        return
    unmatched = sorted(name for name in _published(stream.name) if found.find(name) is None)
    if unmatched and not group.unmatched_given:
        taken = sorted({name for each in members for name in each.types})
        yield checks.Error(
            f"{where} has no handler for {', '.join(unmatched)}, which models publish there. Its handlers take "
            f"{', '.join(taken)}.",
            hint="Correct the type of one, or add a handler without type. To leave these unhandled, set the group's "
            "UNMATCHED to 'skip' or to 'dead-letter': this error is gone, too, where the default is said explicitly.",
            obj=f"{stream.name}:{group.name}",
            id=f"{TAG}.E012",
        )


def _awaited(handler: Handler) -> Iterator[checks.CheckMessage]:
    """Yield a warning for each type that looks like a model's event, if models publish to the stream, but not this."""
    published = _published(handler.stream)
    for name in handler.types if published else ():
        if name not in published and _is_of_model(name, published):
            yield checks.Warning(
                f"{handler.name} waits for {name!r}, which no model publishes to {handler.stream!r}."
                f"{nearest(name, sorted(published))}",
                hint="Correct the type, or let @publishes or MODELS publish it. Silence this if publish() does.",
                id=f"{TAG}.W011",
            )


def _is_of_model(name: str, published: set[str]) -> bool:
    """Return whether a type is a model's event, or nearly one; other types may come from anywhere."""
    label, _, event = name.rpartition(".")
    known = {model._meta.label_lower for model in apps.get_models()}
    return event in _EVENTS and (label in known or bool(get_close_matches(name, published, n=1, cutoff=_NEARLY)))


def _published(stream: str) -> set[str]:
    return {name for declaration in declared() if declaration.stream == stream for name in declaration.types}
