"""Dead letters in the admin: to be looked at, replayed, discarded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..inspection import DeadLetter
from ..models import DeadLetter as DeadLetterModel
from .filters import REASONS, GroupFilter, ReasonFilter, StreamFilter
from .message_actions import DISCARD, REPLAY
from .message_admin import MessageAdmin, as_action
from .message_page import Fact, common_facts
from .sources import DEAD_LETTERS
from .text import shortened
from .times import ago, exact

__all__ = ["DeadLetterAdmin"]


@admin.register(DeadLetterModel)
class DeadLetterAdmin(MessageAdmin):
    """Dead letters, the newest first."""

    kind = DEAD_LETTERS
    message_actions = (REPLAY, DISCARD)
    actions = (as_action(REPLAY), as_action(DISCARD))
    list_display = ("message_id", "stream", "group", "event", "attempts", "age", "failure")
    list_filter = (StreamFilter, GroupFilter, ReasonFilter)

    @admin.display(description=gettext_lazy("age"))
    def age(self, message: DeadLetterModel) -> str:
        """Return how long ago the message was dead-lettered."""
        return ago(message.row.dead_lettered_at, message.row.read_at)

    @admin.display(description=gettext_lazy("error"))
    def failure(self, message: DeadLetterModel) -> str:
        """Return the reason of the dead letter and, below it, its error in one line."""
        return format_html(
            '<span class="quiet">{}</span><br>{}', _reason_text(message.row), shortened(message.row.error)
        )

    def facts(self, row: Any) -> Iterator[Fact]:
        """Yield why the message became a dead letter, and where it came from."""
        yield _("Reason"), _reason_text(row)
        yield _("Dead-lettered"), exact(row.dead_lettered_at)
        yield from common_facts(row)
        yield _("Dead letter"), row.entry_id


def _reason_text(row: DeadLetter) -> str:
    if not row.native:
        return _("not written by this package")
    return str(REASONS.get(row.reason) or shortened(row.reason))
