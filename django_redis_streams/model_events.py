"""Events of models: what `@publishes` and the setting MODELS declare, from the signal to `publish()`.

Receivers are connected to the models that are declared, to their proxies and to their subclasses, never to all
models: one for all would make Django fetch every row of every model before it deletes it
(https://docs.djangoproject.com/en/stable/ref/models/querysets/#django.db.models.query.QuerySet.delete).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.core.signals import setting_changed
from django.db.models import BinaryField, Field, Model
from django.db.models.fields.files import FieldFile
from django.db.models.signals import class_prepared, post_delete, post_save, pre_delete
from django.dispatch import receiver

from . import conf
from .conf import ModelEvents, values
from .exceptions import ConfigurationError
from .publishing import publish

__all__ = ["Declaration", "columns", "connect_settings", "declared", "publishes"]

logger = logging.getLogger("django_redis_streams")

Class = TypeVar("Class", bound=type[Model])
if TYPE_CHECKING:
    AnyField = Field[Any, Any]

_EVENTS: Final = ("created", "updated", "deleted")


def publishes(
    stream: str,
    *,
    on: Sequence[str] = _EVENTS,
    fields: Sequence[str] | None = None,
    type: str | None = None,  # noqa: A002  the message's own word for it
) -> Callable[[Class], Class]:
    """Decorate a model: its saves and deletions are published to `stream`. May be stacked.

    `on`: which of "created", "updated", "deleted". `fields`: the payload, as `{attname: value}` (a foreign key
    `customer` gives `customer_id`); without it the primary key alone. `type`: of all these events; without it
    "app_label.model.created" and so on.

    Published like `publish(…, using=<the database of the save>)`, with the values of that moment. A save with
    `update_fields` that names none of `fields` is no event. Proxies and subclasses publish as this model.
    `loaddata` publishes nothing; `bulk_create()`, `update()` and many-to-many relations send no such signals.

    Raises `ConfigurationError` at once for what can't work. Reads no settings.
    """
    accepted = {
        "on": _accepted("on", values.events, on),
        "fields": _accepted("fields", values.optional(values.some), fields),
        "type": _accepted("type", values.optional(values.text), type),
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


def columns(model: type[Model], fields: Sequence[str] | None) -> tuple[AnyField, ...]:
    """The fields that a payload is made of. Raises `ConfigurationError` for one that can't be in it."""
    if fields is None:
        return tuple(model._meta.pk_fields)
    return tuple(_column(model, name) for name in fields)


def declared() -> tuple[Declaration, ...]:
    """All declarations, those of the settings last."""
    return (*_by_decorator, *_by_settings)


def connect_settings() -> None:
    """Connect what `MODELS` of the streams says now, instead of what it said before.

    Never raises: a model that isn't there is logged, and the checks report it; a field that isn't there makes
    the save raise.
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


@dataclass(frozen=True, eq=False)
class Declaration:
    """That events of a model go to a stream."""

    model: type[Model]
    stream: str
    events: ModelEvents

    @cached_property
    def columns(self) -> tuple[AnyField, ...]:
        """The fields of the payload. Raises `ConfigurationError`."""
        return columns(self.model, self.events.fields)

    def type_of(self, event: str) -> str:
        """The type of the message for "created", "updated" or "deleted"."""
        return self.events.type or f"{self.model._meta.label_lower}.{event}"

    @property
    def types(self) -> tuple[str, ...]:
        """The types of all its messages."""
        return tuple(self.type_of(event) for event in self.events.on)

    def connect(self, *models: type[Model]) -> None:
        """Listen to these models; to the declared one and all that derive from it where none is given."""
        for model in models or _family(self.model):
            for signal, listener in self._listeners(model):
                signal.connect(listener, sender=model, weak=False)

    def disconnect(self) -> None:
        """Listen no more."""
        for model in _family(self.model):
            for signal, listener in self._listeners(model):
                signal.disconnect(listener, sender=model)

    def _listeners(self, model: type[Model]) -> Iterator[tuple[Any, Callable[..., None]]]:
        if {"created", "updated"} & set(self.events.on):
            yield post_save, self.saved
        # A save tells of the class that was saved alone. A deletion tells of the rows' models one by one, so of a
        # subclass with a table of its own it tells twice: of the subclass and of this model.
        if "deleted" in self.events.on and model._meta.concrete_model is self.model._meta.concrete_model:
            yield pre_delete, self.about_to_delete
            yield post_delete, self.deleted

    def saved(
        self,
        *,
        instance: Model,
        created: bool,
        raw: bool,
        using: str,
        update_fields: frozenset[str] | None,
        **_: Any,
    ) -> None:
        """Receives `post_save`."""
        event = "created" if created else "updated"
        if not raw and event in self.events.on and self._touched(update_fields):
            self._publish(event, _payload(instance, self.columns, using), using)

    def about_to_delete(self, *, instance: Model, using: str, **_: Any) -> None:
        """Receives `pre_delete`: fetches now what is deferred, since afterwards there is no row to fetch it from."""
        missing = [column.attname for column in self.columns if _unknown(instance, column)]
        if missing:
            stored = _stored(instance, missing, using)
            for name in missing:
                setattr(instance, name, stored.get(name))

    def deleted(self, *, instance: Model, using: str, **_: Any) -> None:
        """Receives `post_delete`, which comes before Django takes the primary key off the instance."""
        self._publish("deleted", _payload(instance, self.columns, using), using)

    def _touched(self, update_fields: frozenset[str] | None) -> bool:
        if update_fields is None or self.events.fields is None:
            return True
        return any({column.name, column.attname} & update_fields for column in self.columns)

    def _publish(self, event: str, payload: dict[str, Any], using: str) -> None:
        publish(self.stream, payload, type=self.type_of(event), using=using)


_by_decorator: Final[list[Declaration]] = []
_by_settings: Final[list[Declaration]] = []


@receiver(class_prepared, dispatch_uid="django_redis_streams.model_events")
def _inherit(*, sender: type[Model], **_: Any) -> None:
    """A model that is defined after the one it derives from was declared publishes as that one."""
    for declaration in declared():
        if issubclass(sender, declaration.model):
            declaration.connect(sender)


@receiver(setting_changed, dispatch_uid="django_redis_streams.model_events")
def _connect_again(*, setting: str, **_: Any) -> None:
    if setting in {"REDIS_STREAMS", "INSTALLED_APPS"} and apps.ready:
        connect_settings()


def _family(model: type[Model]) -> Iterator[type[Model]]:
    yield model
    for subclass in model.__subclasses__():
        yield from _family(subclass)


def _check_model(model: object) -> None:
    if not (isinstance(model, type) and issubclass(model, Model)) or model._meta.abstract:
        raise ConfigurationError(f"@publishes on {model!r}: expected a model that isn't abstract.")


def _column(model: type[Model], name: str) -> AnyField:
    where = f"{model._meta.label} can't publish the field {name!r}"
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        names = [each.attname for each in model._meta.concrete_fields]
        raise ConfigurationError(f"{where}: it has none of that name.{conf.nearest(name, names)}") from None
    if not isinstance(field, Field) or field.column is None:
        raise ConfigurationError(f"{where}: expected a field with a column of its own, not a relation to many.")
    if isinstance(field, BinaryField):
        raise ConfigurationError(f"{where}: bytes are no JSON value. Publish the primary key, and read them there.")
    return field


def _payload(instance: Model, fields: Sequence[AnyField], using: str) -> dict[str, Any]:
    missing = [field.attname for field in fields if _unknown(instance, field)]
    stored = _stored(instance, missing, using) if missing else {}

    def value(field: AnyField) -> Any:
        name = field.attname
        return stored.get(name) if name in missing else _plain(field, getattr(instance, name))

    return {field.attname: value(field) for field in fields}


def _unknown(instance: Model, field: AnyField) -> bool:
    """Whether only the database knows a value: it is deferred, or was saved as an expression such as F()."""
    try:
        return hasattr(instance.__dict__[field.attname], "resolve_expression")
    except KeyError:
        return True


def _stored(instance: Model, names: Sequence[str], using: str) -> Mapping[str, Any]:
    """The values in the database, in one query; empty where the row is gone. Leaves the instance as it is."""
    rows = type(instance)._base_manager.using(using).filter(pk=instance.pk)
    return rows.values(*names).first() or {}


def _plain(field: AnyField, value: Any) -> Any:
    """A value of the field's own type, so that "99.90" is published like Decimal("99.90"); a file by its name."""
    return value.name or "" if isinstance(value, FieldFile) else field.to_python(value)


def _accepted(option: str, accept: Callable[[Any], Any], value: Any) -> Any:
    try:
        return accept(value)
    except ValueError as error:
        raise ConfigurationError(f"@publishes({option}={value!r}): {error}.") from None
