"""Settings of the workers that tests start as processes of their own: streams by environment."""

import json
import os

from .settings import *  # noqa: F403  the same project, with other streams

REDIS_STREAMS = {
    "CONNECTIONS": {"default": {"URL": os.environ["TEST_REDIS_URL"]}},
    "STREAMS": json.loads(os.environ["TEST_STREAMS"]),
    "HANDLER_MODULES": ["tests.obedient_handlers"],
}
