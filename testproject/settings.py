"""Settings of the shop.

What differs between machines comes from the environment:

- `SHOP_DIR`: where the SQLite database and the embedded server keep their data (default: here)
- `DATABASE_URL`: another database, as in `postgres://user@localhost/shop`
- `REDIS_URL`: another server, as in `redis://localhost:6379/0`
- `DELIVERY_LOG`: a file that gets a line for each delivery to a handler, before the handler works
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import environ

env = environ.Env()

BASE_DIR = Path(env.str("SHOP_DIR", default=str(Path(__file__).parent))).resolve()

SECRET_KEY = env.str("SECRET_KEY", default="the shop has customers, but no secrets")
DEBUG = env.bool("DEBUG", default=True)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])

INSTALLED_APPS = [
    "django_redis_streams",
    "django_redis_streams.inbox",
    "django_redis_streams.outbox",
    "testproject.shop",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "testproject.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

DATABASES = {
    "default": env.db("DATABASE_URL", default=f"sqlite:///{quote(str(BASE_DIR / 'db.sqlite3'))}"),
}
DATABASES["default"]["CONN_MAX_AGE"] = None
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A shop and its workers are several writers. With Django's defaults a transaction that reads
    # before it writes meets "database is locked" at once; with these it waits for its turn.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }

REDIS_STREAMS = {
    "CONNECTIONS": {"default": {"URL": env.str("REDIS_URL", default="embedded://")}},
    "STREAMS": {
        "orders": {
            # An order that is saved is published, even if the server is away at that moment.
            "OUTBOX": "always",
            # Short waits, so that people who watch the demo see a message fail, be retried, and end as a dead letter.
            "GROUPS": {name: {"MAX_RETRIES": 3, "BACKOFF": (1, 10)} for name in ("billing", "loyalty", "analytics")},
        },
    },
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        "delivery": {"format": "%(process)d %(message)s"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"django_redis_streams": {"handlers": ["console"], "level": "INFO"}},
}
if delivery_log := env.str("DELIVERY_LOG", default=""):
    # Every worker appends to it. A line is one write, so lines never mix.
    LOGGING["handlers"]["deliveries"] = {
        "class": "logging.FileHandler",
        "filename": delivery_log,
        "formatter": "delivery",
    }
    LOGGING["loggers"]["shop.deliveries"] = {"handlers": ["deliveries"], "level": "INFO"}
