"""Settings of the workers beside the browser: the tests' own, with the shop's handlers."""

from tests.support.worker_settings import *  # noqa: F403  the same streams and database

HANDLER_MODULES = ["tests.browser.shop_handlers"]
REDIS_STREAMS["HANDLER_MODULES"] = HANDLER_MODULES  # noqa: F405  of above
