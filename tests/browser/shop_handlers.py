"""Handlers of three groups; billing's needs a gateway, which is down while there is a file that says so.

Each run that ends well is a line in the file `TEST_RUNS`: the group and the message's id.
"""

import os
from pathlib import Path

from django_redis_streams.handlers import handler
from django_redis_streams.message import Message

RUNS = Path(os.environ["TEST_RUNS"])


def done(message: Message) -> None:
    """Write down that a run ended well."""
    with RUNS.open("a") as lines:
        lines.write(f"{message.group} {message.id}\n")


@handler("orders", group="billing")
def charge(message: Message) -> None:
    """Charge an order, where the gateway is up."""
    if RUNS.with_name("gateway-is-down").exists():
        raise ConnectionError("the gateway is down")
    done(message)


@handler("orders", group="loyalty")
def add_points(message: Message) -> None:
    """Add to the customer's points."""
    done(message)


@handler("orders", group="analytics")
def count(message: Message) -> None:
    """Count the order."""
    done(message)
