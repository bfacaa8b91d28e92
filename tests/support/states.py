"""Messages in each state, made by the worker's own commands, without a worker."""

import json
from typing import Any

from django_redis_streams import conf, connections
from django_redis_streams.message import new_id
from django_redis_streams.outcomes import Ack, DeadLetter, Failure, Outcome, Reason, RetryLater
from django_redis_streams.store.consume.delivery import Delivery
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.store.consume.read import delivered, read_command
from django_redis_streams.store.consume.settle import settle_commands
from django_redis_streams.store.publish import delay as store
from django_redis_streams.store.publish.delay import Due
from django_redis_streams.store.scripts import run

FAILURE = Failure(
    handler="shop.stream_handlers.charge",
    error="ZeroDivisionError: division by zero",
    traceback='Traceback (most recent call last):\n  File "shop/stream_handlers.py", line 12, in charge\n',
)


def publish(raw: Any, *payloads: dict[str, str], stream: str = "orders") -> list[str]:
    """Append flat entries as any client might; return their ids."""
    return [raw.xadd(stream, payload) for payload in payloads]


def deliver(
    stream: str = "orders", group: str = "billing", *, consumer: str = "tested", count: int = 1000
) -> list[Delivery]:
    """Deliver unread messages to a consumer, and make the group if it is missing; return the deliveries."""
    place = Membership(conf.stream(stream), conf.group(stream, group), consumer)
    link = connections.get(place.stream.connection)
    make_group(link, place, "0")
    return delivered(place, run(link, read_command(place, 2 * count, None)))


def settle(deliveries: list[Delivery], outcome: Outcome, *, consumer: str = "tested") -> None:
    """Settle deliveries as a consumer would."""
    for each in deliveries:
        stream, group = each.origin.stream, each.origin.group
        place = Membership(conf.stream(stream), conf.group(stream, group), consumer)
        each.outcome = outcome
        for command, _ in settle_commands(place, [each]):
            run(connections.get(place.stream.connection), command)


def acknowledge(*where: str) -> None:
    """Deliver and acknowledge the unread messages."""
    settle(deliver(*where), Ack())


def bury(*where: str, reason: Reason = Reason.EXHAUSTED, failure: Failure = FAILURE) -> None:
    """Deliver the unread messages, and dead-letter them."""
    settle(deliver(*where), DeadLetter(reason, failure))


def retry(*where: str, delay: float = 60, failure: Failure = FAILURE) -> None:
    """Deliver the unread messages, and have them retried in `delay` seconds."""
    settle(deliver(*where), RetryLater(delay, failure))


def delay(
    payload: Any,
    *,
    stream: str = "orders",
    lane: str = "default",
    seconds: float = 60,
    type: str = "",  # noqa: A002  the field's own name
) -> str:
    """Delay a message, whatever transaction the test runs in; return its id."""
    config, identity = conf.stream(stream), new_id()
    fields = ["id", identity, *(["type", type] if type else []), "data", json.dumps(payload)]
    due = Due(round(seconds * 1000), absolute=False)
    store.delay(connections.get(config.connection), config, lane, due, [fields])
    return identity


def forget_consumers(raw: Any) -> None:
    """Make it as if no consumer of orders:billing had been there lately; who holds something stays."""
    for key in ("orders", "{orders}:redelivery:billing"):
        for each in raw.xinfo_consumers(key, "billing"):
            if not each["pending"]:
                raw.xgroup_delconsumer(key, "billing", each["name"])
    raw.delete("{orders}:workers:billing")
