"""Settings of the program that relays: those of our side, with the outbox on PostgreSQL."""

import json
import os

from .settings import *  # noqa: F403  the same project
from .settings import REDIS_STREAMS

INSTALLED_APPS = ["django_redis_streams", "django_redis_streams.outbox"]
DATABASES = {"default": json.loads(os.environ["BENCH_DATABASE"])}
REDIS_STREAMS["STREAMS"]["orders"]["OUTBOX"] = "always"
