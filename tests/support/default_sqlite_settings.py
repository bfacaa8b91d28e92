"""Settings of workers on SQLite with Django's defaults: a writer that has read before doesn't wait."""

import os

from .worker_settings import *  # noqa: F403  the same project, with another database

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["TEST_SQLITE"]}}
REDIS_STREAMS = {**REDIS_STREAMS, "HANDLER_MODULES": ["tests.support.idempotent_handlers"]}  # noqa: F405  of above
