"""Settings of the Django project on our side: defaults throughout, a database, and logging at INFO."""

import os

SECRET_KEY = "nobody's"
USE_TZ = True
INSTALLED_APPS = ["django_redis_streams"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
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
            }
        }
    },
    "HANDLER_MODULES": ["tests.benchmarks.handlers"],
}
