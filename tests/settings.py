"""Settings of the library's own tests.

Processes that a test starts find the same database and the same server: by `TEST_DIRECTORY` and
`TEST_REDIS_URL`, which are in the environment of the test's process.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def _directory() -> Path:
    """A directory for this run, removed at its end by whoever made it."""
    if "TEST_DIRECTORY" not in os.environ:
        made, maker = tempfile.mkdtemp(prefix="streams-tests-"), os.getpid()
        os.environ["TEST_DIRECTORY"] = made
        atexit.register(lambda: os.getpid() == maker and shutil.rmtree(made, ignore_errors=True))
    # Each of several pytest workers has its own database, under the same name.
    worker = Path(os.environ["TEST_DIRECTORY"], os.environ.get("PYTEST_XDIST_WORKER", "main"))
    worker.mkdir(exist_ok=True)
    return worker


BASE_DIR = _directory()
SECRET_KEY = "nobody's"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django_redis_streams",
    "django_redis_streams.outbox",
    "django_redis_streams.inbox",
    "testproject.shop",
    "tests.catalogue",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
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
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "db.sqlite3",
        # A file, where the processes that a test starts find it.
        "TEST": {"NAME": BASE_DIR / "db.sqlite3"},
        # Several processes write: each waits for its turn instead of meeting "database is locked".
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            # No waits for the disk: the file outlives a killed process, and no test crashes the machine.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
        },
    },
}
REDIS_STREAMS = {
    # A test that forgets to ask for the fixture `streams` meets no server at all.
    "CONNECTIONS": {
        "default": {"URL": os.environ.get("TEST_REDIS_URL", "unix:///no/fixture/streams")},
    },
    "STREAMS": {
        "orders": {"GROUPS": {"billing": {}, "loyalty": {}, "analytics": {}}},
    },
}
