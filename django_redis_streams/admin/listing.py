"""Messages on a server, in the place of a queryset: the part of its interface that Django's admin uses, without SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from ..inspection import Page
from ..models import StreamMessage
from .sources import MessageSource

__all__ = ["Listing"]


@dataclass(frozen=True)
class Listing:
    """Messages of one kind: those with the given keys, or those that the search arguments of `inspection` select."""

    # The most messages that one action takes. A request must end in time, and a form has no more than 1,000 fields
    # (https://docs.djangoproject.com/en/stable/ref/settings/#data-upload-max-number-fields).
    most: ClassVar[int] = 500

    kind: MessageSource
    keys: tuple[str, ...] | None = None
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> type[StreamMessage]:
        """The model of the instances."""
        return self.kind.model

    def narrowed(self, **asked: Any) -> Self:
        """Return a copy of this listing that is narrowed down by further search arguments."""
        return replace(self, asked={**self.asked, **asked})

    def filter(self, *, pk__in: Sequence[str]) -> Self:
        """Return a listing of the messages with these keys alone, at most `most`, whatever the search arguments are."""
        return replace(self, keys=tuple(dict.fromkeys(pk__in))[: self.most])

    def page(self, count: int) -> tuple[Page[Any], list[StreamMessage]]:
        """Return the first `count` selected messages, as a page of `inspection` and as instances without bodies."""
        page = self.kind.page(**self.asked, count=count, bodies=False)
        return page, [self.kind.instance(row) for row in page.rows]

    def chosen(self) -> list[StreamMessage]:
        """Return the existing messages with the given keys; without keys, the first `most` selected ones.

        Their bodies stay on the server.
        """
        if self.keys is None:
            return self.page(self.most)[1]
        return [self.kind.instance(row) for row in self.kind.rows(self.keys, bodies=False)]
