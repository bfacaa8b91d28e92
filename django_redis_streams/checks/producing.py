"""Checks of what models publish, and of streams that drop what is published."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from django.apps import apps
from django.core import checks
from django.db import models

from .. import conf
from ..conf import nearest
from ..exceptions import ConfigurationError
from ..model_events import Declaration, declared
from .settings import TAG, when_settings_are_sound

__all__ = ["check_models"]


@when_settings_are_sound
def check_models() -> Iterator[checks.CheckMessage]:
    """E020 to E022, W020 to W022."""
    yield from _missing_models()
    yield from _cut_streams()
    for declaration in declared():
        yield from _declaration(declaration)
    for first, second in combinations(declared(), 2):
        yield from _both(first, second)


def _missing_models() -> Iterator[checks.CheckMessage]:
    labels = [model._meta.label for model in apps.get_models()]
    for stream in conf.get().streams.values():
        for events in stream.models:
            try:
                apps.get_model(events.model)
            except (LookupError, ValueError):
                yield checks.Error(
                    f"REDIS_STREAMS['STREAMS'][{stream.name!r}]['MODELS'] names {events.model!r}, which is no model.",
                    hint=nearest(events.model, labels).strip(),
                    id=f"{TAG}.E020",
                )


def _cut_streams() -> Iterator[checks.CheckMessage]:
    for stream in conf.get().streams.values():
        if stream.hard_maxlen is not None:
            yield checks.Warning(
                f"REDIS_STREAMS['STREAMS'][{stream.name!r}] has a 'HARD_MAXLEN': above {stream.hard_maxlen} entries "
                "the oldest are dropped at each publishing, also those that a group has not read or not settled.",
                hint="Silence it where these may be lost. MAXLEN and MAX_AGE drop nothing that a group needs.",
                id=f"{TAG}.W021",
            )


def _declaration(declaration: Declaration) -> Iterator[checks.CheckMessage]:
    model, streams = declaration.model._meta.label, conf.get().streams
    if declaration.stream not in streams:
        yield checks.Error(
            f"{model} publishes to {declaration.stream!r}, which isn't declared in REDIS_STREAMS['STREAMS'].",
            hint=nearest(declaration.stream, streams).strip(),
            id=f"{TAG}.E022",
        )
    try:
        _ = declaration.columns
    except ConfigurationError as error:
        yield checks.Error(str(error), hint="Correct `fields`.", id=f"{TAG}.E021")
    yield from _deleted_by_the_database(declaration)


def _deleted_by_the_database(declaration: Declaration) -> Iterator[checks.CheckMessage]:
    # Django has it from 6.1 on.
    cascade = getattr(models, "DB_CASCADE", None)
    if cascade is None or "deleted" not in declaration.events.on:
        return
    for field in declaration.model._meta.concrete_fields:
        if field.remote_field is not None and field.remote_field.on_delete is cascade:
            yield checks.Warning(
                f"{declaration.model._meta.label} publishes its deletions to {declaration.stream!r}, but not those "
                f"that follow from its {field.name!r}: with DB_CASCADE the database deletes the rows, and Django "
                "sends no signal.",
                hint="Use CASCADE there, or take 'deleted' out of `on`. Silence this where these deletions need no "
                "event.",
                id=f"{TAG}.W022",
            )


def _both(first: Declaration, second: Declaration) -> Iterator[checks.CheckMessage]:
    shared = set(first.events.on) & set(second.events.on)
    if (first.model, first.stream) == (second.model, second.stream) and set(first.types) & set(second.types) and shared:
        yield checks.Warning(
            f"{first.model._meta.label} publishes {', '.join(sorted(shared))} twice to {first.stream!r}.",
            hint="Remove one of its two declarations (@publishes or MODELS), or give them different types.",
            id=f"{TAG}.W020",
        )
