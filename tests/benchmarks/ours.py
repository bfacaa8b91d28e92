"""Publishers in a Django project, each a process: `python -m tests.benchmarks.ours NAME`.

The consumer of our side isn't here: it is `manage.py runconsumers`.
"""

import itertools
import json
import os
import sys
from collections.abc import Callable

import django

from .publishing import HOW_MANY, each_tick, speed
from .work import PAYLOAD

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.settings"
django.setup()

from django_redis_streams import publish, publish_many  # noqa: E402  when Django is set up

STREAM = "orders"
AT_ONCE = 1000


def publish_one_by_one() -> None:
    """Publish with one call of `publish` a message, outside a transaction."""
    sys.stdout.write(str(speed(lambda: publish(STREAM, PAYLOAD), 1, HOW_MANY)))


def publish_many_at_once() -> None:
    """Publish with calls of `publish_many`, 1000 payloads each."""

    def publish() -> None:
        publish_many(STREAM, itertools.repeat(PAYLOAD, AT_ONCE))

    sys.stdout.write(str(speed(publish, AT_ONCE, HOW_MANY * 10)))


def publish_each_tick() -> None:
    """Publish a message every 10 ms."""
    sys.stdout.write(json.dumps(each_tick(lambda: publish(STREAM, PAYLOAD))))


def fill() -> None:
    """Publish as many messages as the second argument says, for the workers to drain."""
    publish_many(STREAM, itertools.repeat(PAYLOAD, int(sys.argv[2])), chunk_size=AT_ONCE)


PUBLISHERS: dict[str, Callable[[], None]] = {
    "one": publish_one_by_one,
    "many": publish_many_at_once,
    "ticks": publish_each_tick,
    "fill": fill,
}

if __name__ == "__main__":
    PUBLISHERS[sys.argv[1]]()
