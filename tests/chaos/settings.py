"""Settings of the rig, its publishers and its workers. The environment says where server and database are."""

import json
import os

from .streams import STREAMS

SECRET_KEY = "nobody's"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django_redis_streams",
    "django_redis_streams.inbox",
    "django_redis_streams.outbox",
    "tests.chaos",
]
DATABASES = {"default": {**json.loads(os.environ["CHAOS_DATABASE"]), "CONN_MAX_AGE": None}}

# As many replicas of a server must have a message before its publisher is told that it is published.
_SAFE = {"MIN_REPLICAS": int(os.environ["CHAOS_MIN_REPLICAS"])} if "CHAOS_MIN_REPLICAS" in os.environ else {}
# What breaks the product on purpose, where a trial asks for it.
_MUTANTS = ["tests.chaos.mutants"] if os.environ.get("CHAOS_MUTANT") else []
REDIS_STREAMS = {
    "CONNECTIONS": {"default": {"URL": os.environ["CHAOS_URL"]}},
    "HANDLER_MODULES": ["tests.chaos.handlers", *_MUTANTS],
    "STREAMS": {name: {**declared, **_SAFE} for name, declared in STREAMS.items()},
}
