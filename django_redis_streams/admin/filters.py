"""The filters beside the lists: by stream, by group, by reason; those of the outbox by state and database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from .. import conf
from ..exceptions import ConfigurationError
from ..outcomes import Reason
from .listing import Listing
from .text import shortened

__all__ = ["REASONS", "DatabaseFilter", "GroupFilter", "ReasonFilter", "StandingFilter", "StreamFilter"]

# The reasons of `outcomes`, in the reader's language.
REASONS: Mapping[str, Any] = {
    Reason.REJECTED: _("rejected"),
    Reason.EXHAUSTED: _("retries exhausted"),
    Reason.NOT_RETRIED: _("not retried"),
    Reason.NO_HANDLER: _("no handler"),
    Reason.INVALID: _("invalid"),
    Reason.CRASHED: _("crashed the worker"),
}
# The value in a URL for the reason "".
_FOREIGN = "foreign"


class _Filter(admin.SimpleListFilter):
    """A filter that passes one search argument to `inspection`."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:  # noqa: ARG002  as Django calls it
        """Return the listing, narrowed down to the value that was chosen."""
        listing: Listing = queryset
        return listing.narrowed(**{str(self.parameter_name): self.value()}) if self.value() else listing


class StreamFilter(_Filter):
    """The declared streams."""

    title = _("stream")
    parameter_name = "stream"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        """Return the names of the streams."""
        try:
            return _offered(conf.get().streams)
        except ConfigurationError:  # the page itself says what is wrong
            return []


class GroupFilter(_Filter):
    """The groups of these streams, declared or not: a removed group's messages can be found, too."""

    title = _("group")
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        """Return the declared groups; `choices` replaces them by all groups of the listed streams."""
        try:
            streams = conf.get().streams.values()
            return _offered(dict.fromkeys(group for stream in streams for group in stream.groups))
        except ConfigurationError:
            return []

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the groups of the listed streams, and the chosen group."""
        self.lookup_choices = _offered(dict.fromkeys([*changelist.page.groups, *filter(None, [self.value()])]))
        return super().choices(changelist)


class ReasonFilter(_Filter):
    """The reason why a message became a dead letter."""

    title = _("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        """Return every reason, and one choice for entries that others wrote."""
        return [*((str(reason), label) for reason, label in REASONS.items()), (_FOREIGN, _("foreign"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the dead letters of the chosen reason."""
        if self.value() == _FOREIGN:
            listing: Listing = queryset
            return listing.narrowed(reason="")
        return super().queryset(request, queryset)


class StandingFilter(_Filter):
    """How a row of the outbox stands; without a choice those that aren't sent."""

    title = _("state")
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        """Return the states that a row may stay in."""
        return [("waiting", _("waiting")), ("refused", _("refused")), ("sent", _("sent"))]

    def value(self) -> str | None:
        """Return the chosen state; None for what isn't one."""
        chosen = super().value()
        return chosen if chosen in dict(self.lookup_choices) else None

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the choices; the first isn't all, as it leaves out what is sent."""
        first, *others = super().choices(changelist)
        yield {**first, "display": _("unsent")}
        yield from others


class DatabaseFilter(_Filter):
    """The databases with an outbox, where there are several."""

    title = _("database")
    parameter_name = "database"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        """Return the names of the databases."""
        names = model_admin.databases()
        return _offered(names) if len(names) > 1 else []


def _offered(names: Iterable[str]) -> list[tuple[str, Any]]:
    """Return each name as a choice, except those that no URL can hold."""
    return [(name, shortened(name, 40)) for name in names if _is_utf8(name)]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
