"""The payload of a model's event: the values of its fields, as they are at the save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import BinaryField, Field, Model, QuerySet
from django.db.models.fields.files import FieldFile

from .. import conf
from ..exceptions import ConfigurationError

if TYPE_CHECKING:
    AnyField = Field[Any, Any]

__all__ = ["columns", "complete", "payload", "saved_payload"]


def columns(model: type[Model], fields: Sequence[str] | None) -> tuple[AnyField, ...]:
    """Return the fields that a payload is made of. Raises `ConfigurationError` for one that can't be in it."""
    if fields is None:
        return tuple(model._meta.pk_fields)
    return tuple(_column(model, name) for name in fields)


def saved_payload(instance: Model, fields: Sequence[AnyField], using: str) -> dict[str, Any]:
    """Return `{attname: value}` after a save. Values that only the database knows take one query; otherwise none."""
    # A generated column may have changed with the others, and an instance that was updated still has the old value.
    missing = [field.attname for field in fields if field.generated or _is_unknown(instance, field)]
    stored = _stored(instance, missing, using) if missing else {}
    return {**payload(instance, [field for field in fields if field.attname not in missing]), **stored}


def payload(instance: Model, fields: Sequence[AnyField]) -> dict[str, Any]:
    """Return `{attname: value}` as the instance holds them: of the field's own type, a file by its name."""
    return {field.attname: _plain(field, getattr(instance, field.attname)) for field in fields}


def complete(instance: Model, fields: Sequence[AnyField], using: str) -> None:
    """Give the instance the values that only the database knows, None for each if the row is gone."""
    missing = [field.attname for field in fields if _is_unknown(instance, field)]
    stored = _stored(instance, missing, using) if missing else {}
    for name, value in stored.items():
        setattr(instance, name, value)


def _is_unknown(instance: Model, field: AnyField) -> bool:
    """Return whether a value is deferred, or was saved as an expression such as F()."""
    try:
        return hasattr(instance.__dict__[field.attname], "resolve_expression")
    except KeyError:
        return True


def _stored(instance: Model, names: Sequence[str], using: str) -> dict[str, Any]:
    """Return the values in the database, in one query; None for each where the row is gone.

    It uses a plain queryset: a project's base manager may hide the row, as one of a soft deletion does.
    """
    rows: QuerySet[Model] = QuerySet(type(instance), using=using).filter(pk=instance.pk)
    return rows.values(*names).first() or dict.fromkeys(names)


def _plain(field: AnyField, value: Any) -> Any:
    if isinstance(value, FieldFile):
        return value.name or ""
    # An unknown value is None, also for a field that takes no None: a BooleanField, for one, would raise.
    return None if value is None else field.to_python(value)


def _column(model: type[Model], name: str) -> AnyField:
    where = f"{model._meta.label} can't publish the field {name!r}"
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        names = [each.attname for each in model._meta.concrete_fields]
        raise ConfigurationError(f"{where}: it has none of that name.{conf.nearest(name, names)}") from None
    if not isinstance(field, Field) or field.column is None or field.many_to_many:
        raise ConfigurationError(f"{where}: expected a field with a column of its own, not a relation to many.")
    if isinstance(field, BinaryField):
        raise ConfigurationError(f"{where}: bytes are no JSON value. Publish the primary key, and read them there.")
    return field
