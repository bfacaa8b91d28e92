"""The Django app: at its start model events are connected and checks registered, nothing else."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from . import checks, model_events  # noqa: F401  importing the checks registers them

__all__ = ["RedisStreamsConfig"]


class RedisStreamsConfig(AppConfig):
    """`django_redis_streams` in INSTALLED_APPS."""

    name = "django_redis_streams"
    verbose_name = _("Redis Streams")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect model events. A bad setting raises nothing here: the checks report it, and publishing raises it."""
        model_events.connect_settings()
