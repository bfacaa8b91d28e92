"""The Django app of the inbox."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

__all__ = ["InboxConfig"]


class InboxConfig(AppConfig):
    """`django_redis_streams.inbox` in INSTALLED_APPS."""

    name = "django_redis_streams.inbox"
    label = "django_redis_streams_inbox"
    verbose_name = _("Redis Streams: inbox")
    default_auto_field = "django.db.models.BigAutoField"
