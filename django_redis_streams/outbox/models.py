"""The table of messages that are committed, and not on the server yet."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

__all__ = ["OutboxMessage"]


class OutboxMessage(models.Model):
    """One message, as the server is to get it.

    All times are the database's own: hosts needn't agree on the time. Nobody but the one who publishes sends it before
    `next_try_at`. With `sent_at` it is on the server, and is kept only in case the server loses it (`OUTBOX_KEEP`).
    """

    # Unique, by a constraint: `unique=True` would make a second index on PostgreSQL, for LIKE.
    message_id = models.CharField(_("message"), max_length=36, editable=False)
    stream = models.CharField(_("stream"), max_length=255, editable=False)
    lane = models.CharField(_("lane"), max_length=255, editable=False)
    # A number that stands for stream and key; none without a key. Messages of one are sent in the order of their rows.
    # The key itself is in the entry: it may be too long for an index, or have characters that a column doesn't take.
    key_hash = models.BigIntegerField(_("hash of the key"), null=True, editable=False)
    # JSON, a list of names and values in turns, as XADD takes them. ASCII alone: databases differ in what they take.
    entry = models.TextField(_("entry"), editable=False)
    # One of the two for a message that is published later: ms from `created_at`, or since 1970.
    delay_ms = models.BigIntegerField(_("delay in ms"), null=True, editable=False)
    due_ms = models.BigIntegerField(_("due in ms since 1970"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    next_try_at = models.DateTimeField(_("next try"), db_default=Now(), editable=False)
    attempts = models.PositiveIntegerField(_("attempts"), default=0, editable=False)
    error = models.TextField(_("error"), blank=True, editable=False)
    sent_at = models.DateTimeField(_("sent"), null=True, editable=False)
    # The id of its entry on the server; a delayed message has none.
    entry_id = models.CharField(_("entry id"), max_length=41, blank=True, editable=False)

    objects: ClassVar[models.Manager[OutboxMessage]] = models.Manager()

    class Meta:
        verbose_name = _("unsent message")
        verbose_name_plural = _("unsent messages")
        default_permissions = ("view",)
        permissions = (
            ("send_outboxmessage", "Can send unsent message now"),
            ("discard_outboxmessage", "Can discard unsent message"),
        )
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("message_id",), name="redis_streams_outbox_id"),)
        # For the relay, which asks for the first unsent row of a key.
        indexes = (models.Index(fields=("key_hash", "id"), name="redis_streams_outbox_key"),)

    def __str__(self) -> str:
        return f"{self.message_id} ({self.stream})" if self.message_id else str(self.pk)
