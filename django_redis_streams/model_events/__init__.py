"""Events of models: what `@publishes` and the setting MODELS declare, from the signal to `publish()`.

Receivers are connected to the models that are declared, to their proxies and to their subclasses, never to all
models: one for all would make Django fetch every row of every model before it deletes it
(https://docs.djangoproject.com/en/stable/ref/models/querysets/#django.db.models.query.QuerySet.delete).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from django.apps import apps
from django.core.signals import setting_changed
from django.db.models import Model
from django.db.models.signals import class_prepared
from django.dispatch import receiver

from .. import conf
from ..conf import ModelEvents, values
from ..exceptions import ConfigurationError
from .declaration import Declaration
from .payload import columns

__all__ = ["Declaration", "columns", "connect_settings", "declared", "publishes"]

logger = logging.getLogger("django_redis_streams")

Class = TypeVar("Class", bound=type[Model])

_EVENTS: Final = ("created", "updated", "deleted")


def publishes(
    stream: str,
    *,
    on: Sequence[str] = _EVENTS,
    fields: Sequence[str] | None = None,
    type: str | None = None,  # noqa: A002  the message's own word for it
    lane: str | None = None,
) -> Callable[[Class], Class]:
    """Decorate a model: its saves and deletions are published to `stream`. May be stacked.

    `on`: which of "created", "updated", "deleted". `fields`: the payload, as `{attname: value}` (a foreign key
    `customer` gives `customer_id`); without it the primary key alone. `type`: of all these events; without it
    "app_label.model.created" and so on. `lane`: one of the stream's LANES.

    An event is published like `publish(…, using=<the database of the save>)`, with the values of that moment. Outside
    a transaction the row is committed already: errors are then logged and told by `publish_failed`, as after a commit,
    and the save raises nothing. A save with `update_fields` that names none of `fields` is no event. Proxies and
    subclasses publish as this model. `loaddata` publishes nothing; `bulk_create()`, `update()` and many-to-many
    relations send no such signals.

    Raises `ConfigurationError` at once for what can't work. Reads no settings.
    """
    accepted = {
        "on": _accepted("on", values.events, on),
        "fields": _accepted("fields", values.optional(values.some), fields),
        "type": _accepted("type", values.optional(values.message_type), type),
        "lane": _accepted("lane", values.optional(values.text), lane),
    }
    _accepted("stream", values.text, stream)

    def declare(model: Class) -> Class:
        _check_model(model)
        declaration = Declaration(model, stream, ModelEvents(model=model._meta.label, **accepted))
        columns(model, declaration.events.fields)
        _by_decorator.append(declaration)
        declaration.connect()
        return model

    return declare


def declared() -> tuple[Declaration, ...]:
    """Return all declarations, those of the settings last."""
    return (*_by_decorator, *_by_settings)


def connect_settings() -> None:
    """Connect what `MODELS` of the streams says now, instead of what it said before.

    Never raises: a missing model is logged, and the checks report it; a missing field is an error of each save, raised
    or told as all errors of events are.
    """
    while _by_settings:
        _by_settings.pop().disconnect()
    for stream in conf.usable().streams.values():
        for events in stream.models:
            try:
                model = apps.get_model(events.model)
            except (LookupError, ValueError) as error:
                logger.error("Stream %r: MODELS names %r, which is no model: %s", stream.name, events.model, error)  # noqa: TRY400
                continue
            declaration = Declaration(model, stream.name, events)
            _by_settings.append(declaration)
            declaration.connect()


_by_decorator: Final[list[Declaration]] = []
_by_settings: Final[list[Declaration]] = []


@receiver(class_prepared, dispatch_uid="django_redis_streams.model_events")
def _inherit(*, sender: type[Model], **_: Any) -> None:
    """Have a model publish as the one it derives from, if that was declared before the model was defined."""
    for declaration in declared():
        if issubclass(sender, declaration.model):
            declaration.connect(sender)


@receiver(setting_changed, dispatch_uid="django_redis_streams.model_events")
def _connect_again(*, setting: str, **_: Any) -> None:
    if setting in {"REDIS_STREAMS", "INSTALLED_APPS"} and apps.ready:
        connect_settings()


def _check_model(model: object) -> None:
    if not (isinstance(model, type) and issubclass(model, Model)) or model._meta.abstract:
        raise ConfigurationError(f"@publishes on {model!r}: expected a model that isn't abstract.")


def _accepted(option: str, accept: Callable[[Any], Any], value: Any) -> Any:
    try:
        return accept(value)
    except ValueError as error:
        raise ConfigurationError(f"@publishes({option}={value!r}): {error}.") from None
