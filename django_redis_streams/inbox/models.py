"""The table of the messages that have had their effect."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from .presence import LONGEST

__all__ = ["InboxMessage"]


class InboxMessage(models.Model):
    """A message that a group has had the effect of: the row is committed if, and only if, the effect is.

    Ids and names may be of any length and hold any character, and databases differ in what they take and in what they
    hold to be equal. So `id` alone tells messages apart: it is made of the stream, the group and the message's id, as
    `rows.key_of` says. The rest is for people, and for deleting by age; what is longer is cut.
    """

    id = models.UUIDField(_("key"), primary_key=True, editable=False)
    stream = models.CharField(_("stream"), max_length=LONGEST, editable=False)
    group = models.CharField(_("group"), max_length=LONGEST, editable=False)
    message_id = models.CharField(_("message"), max_length=LONGEST, editable=False)
    # The database's own time: hosts needn't agree on the time.
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("handled message")
        verbose_name_plural = _("handled messages")
        default_permissions = ("view",)
        ordering = ("created_at", "id")
        indexes = (models.Index(fields=["stream", "group", "created_at"], name="streams_inbox_by_age"),)

    def __str__(self) -> str:
        return f"{self.message_id} ({self.stream}:{self.group})"
