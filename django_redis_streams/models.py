"""What the admin lists, as models without tables: columns and permissions, no queries.

All of it is on the server; `admin` makes instances of what `inspection` finds there. The names of the
permissions are stored in users' databases: they never change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    Manager = models.Manager[Any]
    QuerySet = models.QuerySet[Any]
else:
    Manager = models.Manager  # takes no type when it runs

__all__ = ["ConsumerGroup", "DeadLetter", "DelayedMessage", "PendingMessage", "RetryingMessage", "StreamMessage"]


class NoTable(Manager):
    """Finds nothing and asks no database, so that code that goes through all models (dumpdata) misses no table."""

    def get_queryset(self) -> QuerySet:
        """Return nothing."""
        return super().get_queryset().none()


class WithoutTable:
    """The options that every Meta here has."""

    managed = False
    default_permissions = ("view",)
    base_manager_name = "objects"


class StreamMessage(models.Model):
    """What all these messages have in common. `id` says where on the server the message is."""

    id = models.CharField(primary_key=True, max_length=255, editable=False)
    message_id = models.TextField(_("message"), editable=False)
    stream = models.TextField(_("stream"), editable=False)
    group = models.TextField(_("group"), editable=False)
    type = models.TextField(_("type"), editable=False)
    attempts = models.PositiveIntegerField(_("attempts"), editable=False)

    # All that is known of the message; the columns are for lists.
    row: Any

    objects: ClassVar[Manager] = NoTable()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        if not self.message_id:
            return str(self.pk)
        return f"{self.message_id} ({':'.join(filter(None, (self.stream, self.group)))})"


class DeadLetter(StreamMessage):
    """A message that won't be run again, unless someone replays it."""

    reason = models.TextField(_("reason"), editable=False)

    class Meta(WithoutTable):
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        permissions = (
            ("replay_deadletter", "Can replay dead letter"),
            ("discard_deadletter", "Can discard dead letter"),
        )


class RetryingMessage(StreamMessage):
    """A message that failed and will be run again when it is due."""

    class Meta(WithoutTable):
        verbose_name = _("retrying message")
        verbose_name_plural = _("retrying messages")
        permissions = (("discard_retryingmessage", "Can discard retrying message"),)


class DelayedMessage(StreamMessage):
    """A message that will be published when it is due, and that no group knows of yet."""

    class Meta(WithoutTable):
        verbose_name = _("delayed message")
        verbose_name_plural = _("delayed messages")
        permissions = (
            ("publish_delayedmessage", "Can publish delayed message"),
            ("discard_delayedmessage", "Can discard delayed message"),
        )


class PendingMessage(StreamMessage):
    """A message that was delivered to a consumer and isn't acknowledged."""

    consumer = models.TextField(_("consumer"), editable=False)
    deliveries = models.PositiveIntegerField(_("deliveries"), editable=False)

    class Meta(WithoutTable):
        verbose_name = _("pending message")
        verbose_name_plural = _("pending messages")
        permissions = (("release_pendingmessage", "Can release pending message"),)


class ConsumerGroup(models.Model):
    """A consumer group that the settings declare."""

    id = models.CharField(primary_key=True, max_length=255, editable=False)
    stream = models.TextField(_("stream"), editable=False)
    group = models.TextField(_("group"), editable=False)

    objects: ClassVar[Manager] = NoTable()

    class Meta(WithoutTable):
        verbose_name = _("consumer group")
        verbose_name_plural = _("consumer groups")
        permissions = (("pause_consumergroup", "Can pause and resume consumer group"),)

    def __str__(self) -> str:
        return f"{self.stream}:{self.group}"
