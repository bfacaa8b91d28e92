"""Whether the outbox is there, and who needs it. Nothing here needs the app."""

from __future__ import annotations

from typing import Final

from django.apps import apps

from .. import conf

__all__ = ["APP", "LABEL", "TABLE", "declared", "is_installed"]

# What goes into INSTALLED_APPS, and the name by which `migrate` knows it.
APP: Final = "django_redis_streams.outbox"
LABEL: Final = "django_redis_streams_outbox"
TABLE: Final = f"{LABEL}_outboxmessage"


def is_installed() -> bool:
    """Return whether the app is in INSTALLED_APPS: without it, its models can't be imported."""
    return apps.is_installed(APP)


def declared() -> list[str]:
    """Return the streams whose messages go through the outbox."""
    return [each.name for each in conf.get().streams.values() if each.outbox]
