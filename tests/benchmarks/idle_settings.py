"""Settings for `idle`: those of our side, with other streams and handlers."""

from . import settings
from .idle_streams import DECLARED
from .settings import DATABASES, INSTALLED_APPS, LOGGING, SECRET_KEY, USE_TZ

__all__ = ["DATABASES", "INSTALLED_APPS", "LOGGING", "REDIS_STREAMS", "SECRET_KEY", "USE_TZ"]

REDIS_STREAMS = {
    **settings.REDIS_STREAMS,
    "STREAMS": DECLARED,
    "HANDLER_MODULES": ["tests.benchmarks.idle_handlers"],
}
