"""Settings of the worker processes that tests start; the environment declares the streams and further connections."""

import json
import os

from ..settings import *  # noqa: F403  the same project, with other streams
from .mariadb import use_pymysql

INSTALLED_APPS = [each for each in INSTALLED_APPS if not each.startswith("testproject")]  # noqa: F405  of above
if "TEST_WITHOUT_OUTBOX" in os.environ:
    INSTALLED_APPS.remove("django_redis_streams.outbox")
if "TEST_DATABASE" in os.environ:
    DATABASES = {"default": json.loads(os.environ["TEST_DATABASE"])}
    if DATABASES["default"]["ENGINE"].endswith("mysql"):
        use_pymysql()
REDIS_STREAMS = {
    "CONNECTIONS": {
        "default": {"URL": os.environ["TEST_REDIS_URL"]},
        **json.loads(os.environ.get("TEST_CONNECTIONS", "{}")),
    },
    "STREAMS": json.loads(os.environ["TEST_STREAMS"]),
    "HANDLER_MODULES": ["tests.support.obedient_handlers", *filter(None, os.environ.get("TEST_HANDLERS", "").split())],
}
