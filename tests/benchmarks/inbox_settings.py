"""Settings for `inbox`: those of our side, with the inbox, a PostgreSQL database, and other groups."""

import json
import os

from . import settings
from .settings import LOGGING, SECRET_KEY, USE_TZ

__all__ = ["DATABASES", "INSTALLED_APPS", "LOGGING", "REDIS_STREAMS", "SECRET_KEY", "USE_TZ"]

INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_redis_streams.inbox"]
DATABASES = {"default": {**json.loads(os.environ["BENCH_DATABASE"]), "CONN_MAX_AGE": None}}
REDIS_STREAMS = {
    **settings.REDIS_STREAMS,
    "STREAMS": {"orders": {"GROUPS": {"atomic": {}, "once": {}, "atomic-batch": {}, "once-batch": {}}}},
    "HANDLER_MODULES": ["tests.benchmarks.inbox_handlers"],
}
