"""The declaration that events of one model go to one stream, and the receivers that publish them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db.models import Model
from django.db.models.signals import post_delete, post_save, pre_delete

from ..conf import ModelEvents
from ..exceptions import ConfigurationError
from ..publishing import in_transaction, publish, publish_committed
from .payload import columns, complete, payload, saved_payload

if TYPE_CHECKING:
    from .payload import AnyField

__all__ = ["Declaration"]


class _Rows(threading.local):
    """The rows that a thread is about to delete."""

    def __init__(self) -> None:
        self.rows: set[tuple[str, Any]] = set()


@dataclass(frozen=True, eq=False)
class Declaration:
    """The declaration that events of a model go to a stream."""

    model: type[Model]
    stream: str
    events: ModelEvents
    _deleting: _Rows = field(default_factory=_Rows, repr=False)

    @cached_property
    def columns(self) -> tuple[AnyField, ...]:
        """The fields of the payload. Raises `ConfigurationError`."""
        return columns(self.model, self.events.fields)

    def type_of(self, event: str) -> str:
        """Return the type of the message for "created", "updated" or "deleted"."""
        return self.events.type or f"{self.model._meta.label_lower}.{event}"

    @property
    def types(self) -> tuple[str, ...]:
        """The types of all its messages."""
        return tuple(self.type_of(event) for event in self.events.on)

    def connect(self, *models: type[Model]) -> None:
        """Listen to these models; if none is given, to the declared one and all that derive from it."""
        for model in models or _family(self.model):
            for signal, listener in self._listeners(model):
                signal.connect(listener, sender=model, weak=False)

    def disconnect(self) -> None:
        """Stop listening."""
        for model in _family(self.model):
            for signal, listener in self._listeners(model):
                signal.disconnect(listener, sender=model)

    def _listeners(self, model: type[Model]) -> Iterator[tuple[Any, Callable[..., None]]]:
        if {"created", "updated"} & set(self.events.on):
            yield post_save, self.saved
        # A save sends its signal for the saved class alone. A deletion sends one for the model of each row, so for a
        # subclass with a table of its own it sends two: for the subclass and for this model.
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
            self._publish(event, instance, lambda: saved_payload(instance, self.columns, using), using)

    def about_to_delete(self, *, instance: Model, using: str, **_: Any) -> None:
        """Receives `pre_delete`, while there still is a row to fetch deferred values from."""
        complete(instance, self.columns, using)
        self._deleting.rows.add((using, instance.pk))

    def deleted(self, *, instance: Model, using: str, **_: Any) -> None:
        """Receives `post_delete`, which comes before Django takes the primary key off the instance.

        For a row with a subclass's row it may come twice, for the proxy that it was deleted by and for the model.
        All `pre_delete` come before the first `post_delete`, so the first `post_delete` takes the row off the list.
        """
        row = (using, instance.pk)
        if row in self._deleting.rows:
            self._deleting.rows.remove(row)
            self._publish("deleted", instance, lambda: payload(instance, self.columns), using)

    def _touched(self, update_fields: frozenset[str] | None) -> bool:
        if update_fields is None or self.events.fields is None:
            return True
        try:
            return any({column.name, column.attname} & update_fields for column in self.columns)
        except ConfigurationError:
            return True  # publishing will report it, as all that keeps an event from being published

    def _publish(self, event: str, instance: Model, payload: Callable[[], dict[str, Any]], using: str) -> None:
        """Publish an event; raise an error only while it can still undo the change.

        In a transaction, whatever is wrong with the message is raised. Outside one the row is committed already, and
        an error would make the save look failed: saving again would make two rows.
        """
        type_, lane = self.type_of(event), self.events.lane
        if in_transaction(using):
            publish(self.stream, payload(), type=type_, lane=lane, using=using)
        else:
            subject = f"{instance._meta.label} {instance.pk!r}"
            publish_committed(self.stream, payload, type=type_, lane=lane, subject=subject, using=using)


def _family(model: type[Model]) -> Iterator[type[Model]]:
    yield model
    for subclass in model.__subclasses__():
        yield from _family(subclass)
