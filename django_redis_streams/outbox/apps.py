"""The Django app of the outbox."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from ..publishing.outboxes import register_outbox

__all__ = ["OutboxConfig"]


class OutboxConfig(AppConfig):
    """`django_redis_streams.outbox` in INSTALLED_APPS."""

    name = "django_redis_streams.outbox"
    label = "django_redis_streams_outbox"
    verbose_name = _("Redis Streams: outbox")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have publishing keep here what streams with OUTBOX publish."""
        from . import writing  # noqa: PLC0415  it needs the model, which is there only now

        register_outbox(writing)
