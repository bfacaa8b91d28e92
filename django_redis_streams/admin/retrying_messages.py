"""Retrying messages in the admin: to be looked at, discarded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import RetryingMessage
from .filters import GroupFilter, StreamFilter
from .message_actions import DISCARD_RETRY
from .message_admin import MessageAdmin, as_action
from .message_page import Fact, common_facts
from .sources import RETRYING
from .text import shortened
from .times import exact, until

__all__ = ["RetryingMessageAdmin"]


@admin.register(RetryingMessage)
class RetryingMessageAdmin(MessageAdmin):
    """Messages that wait for a retry, those that are due next first."""

    kind = RETRYING
    message_actions = (DISCARD_RETRY,)
    actions = (as_action(DISCARD_RETRY),)
    list_display = ("message_id", "stream", "group", "event", "attempts", "due", "error")
    list_filter = (StreamFilter, GroupFilter)

    @admin.display(description=gettext_lazy("due"))
    def due(self, message: RetryingMessage) -> str:
        """Return when the message will be run again."""
        return until(message.row.due, message.row.read_at)

    @admin.display(description=gettext_lazy("error"))
    def error(self, message: RetryingMessage) -> str:
        """Return the error of the last run, in one line."""
        return shortened(message.row.error)

    def facts(self, row: Any) -> Iterator[Fact]:
        """Yield when the message will be run again, and where it came from."""
        yield _("Due"), exact(row.due)
        yield from common_facts(row)
