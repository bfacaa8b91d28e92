"""Settings of the Django project on our side: defaults throughout, a database, and logging at INFO."""

import json
import os

SECRET_KEY = "nobody's"
USE_TZ = True
INSTALLED_APPS = ["django_redis_streams"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
# Where a figure is about a database: that, and what it needs to have a table to save to.
if "BENCH_DATABASE" in os.environ:
    INSTALLED_APPS += ["django_redis_streams.outbox", "tests.catalogue"]
    DATABASES["default"] = {**json.loads(os.environ["BENCH_DATABASE"]), "CONN_MAX_AGE": None}
    OUTBOXES = {"plain": {}, "always": {"OUTBOX": "always"}, "fallback": {"OUTBOX": "fallback"}}
else:
    OUTBOXES = {}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
REDIS_STREAMS = {
    "CONNECTIONS": {"default": {"URL": os.environ["BENCH_URL"]}},
    "STREAMS": {
        "orders": {
            "GROUPS": {
                "message": {},
                "batch": {},
                "awaited": {},
                "suspending": {},
                "threads": {},
                "latency": {},
                # A consumer claims nothing before its connection is half as old as this.
                "pending": {"CLAIM_IDLE": 1},
            },
            "OUTBOX": os.environ.get("BENCH_OUTBOX"),
        },
        **OUTBOXES,
    },
    "HANDLER_MODULES": ["tests.benchmarks.handlers"],
}
