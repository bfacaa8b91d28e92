"""The payload of a model's event: the values of its fields, as they are at the save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import BinaryField, Field, Model
from django.db.models.fields.files import FieldFile

from .. import conf
from ..exceptions import ConfigurationError

if TYPE_CHECKING:
    AnyField = Field[Any, Any]

__all__ = ["columns", "payload_of", "stored_values", "unknown"]


def columns(model: type[Model], fields: Sequence[str] | None) -> tuple[AnyField, ...]:
    """The fields that a payload is made of. Raises `ConfigurationError` for one that can't be in it."""
    if fields is None:
        return tuple(model._meta.pk_fields)
    return tuple(_column(model, name) for name in fields)


def payload_of(instance: Model, fields: Sequence[AnyField], using: str) -> dict[str, Any]:
    """`{attname: value}` of the fields. What only the database knows takes one query; without such, none."""
    missing = [field.attname for field in fields if unknown(instance, field)]
    stored = stored_values(instance, missing, using) if missing else {}

    def value(field: AnyField) -> Any:
        name = field.attname
        return stored.get(name) if name in missing else _plain(field, getattr(instance, name))

    return {field.attname: value(field) for field in fields}


def unknown(instance: Model, field: AnyField) -> bool:
    """Whether only the database knows a value: it is deferred, or was saved as an expression such as F()."""
    try:
        return hasattr(instance.__dict__[field.attname], "resolve_expression")
    except KeyError:
        return True


def stored_values(instance: Model, names: Sequence[str], using: str) -> Mapping[str, Any]:
    """The values in the database, in one query; empty where the row is gone. Leaves the instance as it is."""
    rows = type(instance)._base_manager.using(using).filter(pk=instance.pk)
    return rows.values(*names).first() or {}


def _plain(field: AnyField, value: Any) -> Any:
    """A value of the field's own type, so that "99.90" is published like Decimal("99.90"); a file by its name."""
    return value.name or "" if isinstance(value, FieldFile) else field.to_python(value)


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
