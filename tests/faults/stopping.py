"""Handlers of batches and coroutines that obey as those of `obedient_handlers` do, for the worker to import.

A message's `type` selects them: `batched` or `async`.
"""

import asyncio
import time

from django_redis_streams.handlers import handler
from django_redis_streams.message import Message

from ..obedient_handlers import note


def seconds(message: Message) -> float:
    """How long it is to take: `do` is `sleep:SECONDS`, or anything else for no time."""
    return float(message.payload["do"].removeprefix("sleep:").replace("ok", "0"))


@handler("orders", group="billing", type="batched", batch=True)
def run_all(messages: list[Message]) -> None:
    """Take as long as all of them."""
    for message in messages:
        note("began", message)
    time.sleep(sum(map(seconds, messages)))
    for message in messages:
        note("ended", message)


@handler("orders", group="billing", type="async")
async def run_async(message: Message) -> None:
    """Leave the loop to others meanwhile."""
    note("began", message)
    await asyncio.sleep(seconds(message))
    note("ended", message)
