"""A program that sends 100,000 messages, and prints how many a second: `python -m tests.benchmarks.relayed HOW`.

By `relay` they wait in the table of the outbox, by `publish` they are published a thousand at once.
"""

import itertools
import os
import sys
import time
from collections.abc import Callable

import django

from .work import PAYLOAD

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.relaying_settings"
django.setup()

from django.core.management import call_command  # noqa: E402  when Django is set up

from django_redis_streams import conf, connections, publish_many  # noqa: E402
from django_redis_streams.outbox.models import OutboxMessage  # noqa: E402
from django_redis_streams.outbox.relay import Relay  # noqa: E402
from django_redis_streams.outbox.rows import row_of  # noqa: E402
from django_redis_streams.publishing.encoded import Call  # noqa: E402

COUNT, AT_ONCE = 100_000, 1_000


def relay() -> None:
    """Relay until the table is empty."""
    one = Relay("default", "default")
    while one.step(connections.get()).more:
        pass
    one.let_go(connections.get())


def publish() -> None:
    """Publish with calls of `publish_many`."""
    for _ in range(COUNT // AT_ONCE):
        publish_many("orders", itertools.repeat(PAYLOAD, AT_ONCE))


def fill() -> None:
    """Put the messages into the table."""
    call_command("migrate", verbosity=0)
    call = Call(conf.stream("orders"), None, None, None)
    for _ in range(COUNT // AT_ONCE):
        OutboxMessage.objects.bulk_create(row_of(call, call.one(PAYLOAD)) for _ in range(AT_ONCE))


def speed(send: Callable[[], object]) -> float:
    """Return messages a second."""
    connections.get().call("PING")
    began = time.perf_counter()
    send()
    return COUNT / (time.perf_counter() - began)


if __name__ == "__main__":
    if sys.argv[1] == "relay":
        fill()
        sys.stdout.write(str(speed(relay)))
        assert not OutboxMessage.objects.exists()
    else:
        sys.stdout.write(str(speed(publish)))
