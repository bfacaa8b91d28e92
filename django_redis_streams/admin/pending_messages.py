"""Pending messages in the admin: to be looked at, and released when their consumer is silent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..inspection import PendingMessage
from ..models import PendingMessage as PendingMessageModel
from .filters import GroupFilter, StreamFilter
from .message_actions import RELEASE
from .message_admin import MessageAdmin, as_action
from .message_page import Fact, common_facts
from .sources import PENDING
from .text import breakable
from .times import duration

__all__ = ["PendingMessageAdmin"]


@admin.register(PendingMessageModel)
class PendingMessageAdmin(MessageAdmin):
    """Pending messages, the oldest first."""

    kind = PENDING
    message_actions = (RELEASE,)
    actions = (as_action(RELEASE),)
    list_display = ("message_id", "stream", "group", "event", "held_by", "deliveries", "idle", "state")
    list_filter = (StreamFilter, GroupFilter)

    @admin.display(description=gettext_lazy("consumer"))
    def held_by(self, message: PendingMessageModel) -> str:
        """Return the consumer that the message was delivered to."""
        return breakable(message.row.consumer)

    @admin.display(description=gettext_lazy("silent for"))
    def idle(self, message: PendingMessageModel) -> str:
        """Return how long ago the consumer got or renewed the message."""
        return duration(timedelta(seconds=message.row.idle))

    @admin.display(description=gettext_lazy("state"))
    def state(self, message: PendingMessageModel) -> str:
        """Return whether a consumer is working on the message."""
        return _state(message.row)[0]

    def facts(self, row: Any) -> Iterator[Fact]:
        """Yield who holds the message since when, and where it came from."""
        yield _("State"), ": ".join(_state(row))
        yield _("Consumer"), row.consumer
        yield _("Silent for"), duration(timedelta(seconds=row.idle))
        yield _("Deliveries"), str(row.deliveries)
        yield from common_facts(row)
        yield _("Pending as"), f"{row.source} {row.entry_id}"


def _state(row: PendingMessage) -> tuple[str, str]:
    """Return a word for the message's state, and a text that says what the word means."""
    if row.body_gone:
        return _("body gone"), _("deleted or trimmed while it was pending, so nobody can run it")
    if row.returned:
        return _("released"), _("the next free worker claims it")
    if row.claim_idle is None:
        return _("not declared"), _("its group isn't in REDIS_STREAMS here")
    if row.stale:
        return _("stale"), _("its consumer has been silent for longer than CLAIM_IDLE")
    return _("held"), _("by a consumer that was active within CLAIM_IDLE")
