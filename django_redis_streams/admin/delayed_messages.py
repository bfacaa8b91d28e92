"""Delayed messages in the admin: to be looked at, published now, discarded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..keys import DEFAULT_LANE
from ..models import DelayedMessage
from .filters import StreamFilter
from .message_actions import DISCARD_DELAYED, PUBLISH
from .message_admin import MessageAdmin, as_action
from .message_page import Fact
from .sources import DELAYED
from .text import shortened
from .times import exact, until

__all__ = ["DelayedMessageAdmin"]


@admin.register(DelayedMessage)
class DelayedMessageAdmin(MessageAdmin):
    """Delayed messages, those that are due next first."""

    kind = DELAYED
    message_actions = (PUBLISH, DISCARD_DELAYED)
    actions = (as_action(PUBLISH), as_action(DISCARD_DELAYED))
    list_display = ("message_id", "stream", "lane", "event", "due")
    list_filter = (StreamFilter,)
    search_help_text = gettext_lazy("Finds messages with all of these words in their id, type or fields.")

    @admin.display(description=gettext_lazy("lane"))
    def lane(self, message: DelayedMessage) -> str:
        """Return the lane that the message goes to."""
        return shortened(message.row.lane)

    @admin.display(description=gettext_lazy("due"))
    def due(self, message: DelayedMessage) -> str:
        """Return when the message will be published."""
        return until(message.row.due, message.row.read_at)

    def facts(self, row: Any) -> Iterator[Fact]:
        """Yield when the message will be published, and where to. It has had no run yet."""
        yield _("Due"), exact(row.due)
        yield _("Stream"), row.stream
        yield _("Lane"), row.lane if row.lane != DEFAULT_LANE else ""
        yield _("Type"), row.type
