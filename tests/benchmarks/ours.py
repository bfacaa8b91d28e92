"""Publishers in a Django project, each a process: `python -m tests.benchmarks.ours NAME`.

The consumer of our side isn't here: it is `manage.py runconsumers`.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable

import django

from .publishing import HOW_MANY, TRANSACTIONS, each_tick, speed
from .work import PAYLOAD

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.settings"
django.setup()

from django.core.management import call_command  # noqa: E402  when Django is set up
from django.db import connections, transaction  # noqa: E402  as above

from django_redis_streams import publish, publish_many  # noqa: E402  as above

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


def publish_in_transactions() -> None:
    """Save a row and publish in each transaction, to the stream that the second argument names."""
    save = _saving()
    sys.stdout.write(str(speed(lambda: save(sys.argv[2]), 1, TRANSACTIONS)))


def commit_each_tick() -> None:
    """Save a row and publish in a transaction every 10 ms; write down when each COMMIT was sent.

    The row of an outbox is written before it, and `transactions` says what that costs.
    """
    save, began = _saving(), []
    database = connections["default"]
    commit = database._commit  # Django has no hook between the last statement and it

    def noted() -> None:
        began.append(time.monotonic_ns())
        commit()

    database._commit = noted
    each_tick(lambda: save(STREAM))
    sys.stdout.write(json.dumps(began))


def _saving() -> Callable[[str], None]:
    """Return what saves a row and publishes in a transaction."""
    from tests.catalogue.models import Author  # noqa: PLC0415  its app is installed only for this

    call_command("migrate", run_syncdb=True, verbosity=0)

    def save(stream: str) -> None:
        with transaction.atomic():
            Author.objects.create(name="Jane Austen")
            publish(stream, PAYLOAD)

    return save


def publish_each_tick() -> None:
    """Publish a message every 10 ms."""
    sys.stdout.write(json.dumps(each_tick(lambda: publish(STREAM, PAYLOAD))))


def fill() -> None:
    """Publish as many messages as the second argument says, for the workers to drain."""
    publish_many(STREAM, itertools.repeat(PAYLOAD, int(sys.argv[2])), chunk_size=AT_ONCE)


PUBLISHERS: dict[str, Callable[[], None]] = {
    "one": publish_one_by_one,
    "many": publish_many_at_once,
    "transactions": publish_in_transactions,
    "ticks": publish_each_tick,
    "commits": commit_each_tick,
    "fill": fill,
}

if __name__ == "__main__":
    PUBLISHERS[sys.argv[1]]()
