"""Settings of a worker without the admin, whose processes note right after their fork what they needn't read."""

import os
from pathlib import Path
from typing import Any

from .worker_settings import *  # noqa: F403  the same worker

# The admin loads what it shows, in the worker as elsewhere.
INSTALLED_APPS = ["django_redis_streams", "django.contrib.auth", "django.contrib.contenttypes"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = __name__
urlpatterns: list[Any] = []


def _note() -> None:
    from django_redis_streams import connections  # noqa: PLC0415  which needs settings
    from django_redis_streams.store.scripts import all_scripts  # noqa: PLC0415  as above

    with Path(os.environ["TEST_RUNS"]).open("a") as file:
        file.write(f"inherited {all_scripts.cache_info().currsize} {len(connections._endpoints)}\n")


os.register_at_fork(after_in_child=_note)
