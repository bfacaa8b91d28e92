"""Handlers of batches and coroutines that obey like those of `obedient_handlers`, for the worker to import.

A message's `type` selects them: `batched`, `async`, `async-batched` or `stubborn`.
"""

import asyncio
import contextlib
import time
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db import connection

from django_redis_streams.handlers import handler
from django_redis_streams.message import Message

from ..support.obedient_handlers import note, obey

# Tasks that handlers have left behind.
left: list[asyncio.Task[None]] = []


def seconds(message: Message) -> float:
    """Return how long the message is to take: for `sleep:SECONDS` so long, for anything else no time."""
    return float(message.payload["do"].removeprefix("sleep:").replace("ok", "0"))


@handler("orders", group="billing", type="batched", batch=True)
def run_all(messages: list[Message]) -> None:
    """Take as long as all messages together."""
    for message in messages:
        note("began", message)
    time.sleep(sum(map(seconds, messages)))
    for message in messages:
        note("ended", message)


@handler("orders", group="billing", type="async")
async def run_async(message: Message) -> None:
    """Do what the message says; meanwhile the event loop is free for others."""
    note("began", message)
    await obey_async(message.payload["do"], message)
    note("ended", message)


@handler("orders", group="billing", type="async-batched", batch=True)
async def run_all_async(messages: list[Message]) -> None:
    """Do what each message says, one after another."""
    for message in messages:
        note("began", message)
    for message in messages:
        await obey_async(message.payload["do"], message)
    for message in messages:
        note("ended", message)


async def obey_async(do: str, message: Message) -> None:
    """Do what the message says; `loop` and `now` do it in a blocking call, which holds the event loop."""
    match do.split(":"):
        case ["wait", path]:
            await wait_for(path)
        case ["loop", then, *rest]:
            # After the others have begun.
            await asyncio.sleep(0.2)
            obey(":".join([then, *rest]), message)
        case ["now", *then]:
            obey(":".join(then), message)
        case ["task", *then]:
            await asyncio.gather(obey_async(":".join(then), message), asyncio.sleep(0))
        case ["database", *then]:
            await sync_to_async(obey)(":".join(then), message)
        case ["thread", *then]:
            await asyncio.to_thread(obey, ":".join(then), message)
        case ["left"]:
            left.append(asyncio.create_task(run_on(message)))
        case ["orm"]:
            await ask_database()
        case _:
            await asyncio.sleep(seconds(message))


@sync_to_async
def ask_database() -> None:
    """Make a query as the async ORM does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def wait_for(path: str) -> None:
    """Wait until this path exists."""
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240  a test makes it
        await asyncio.sleep(0.005)


@handler("orders", group="billing", type="stubborn", timeout=0.2)
async def run_on(message: Message) -> None:
    """Never end, cancelled or not."""
    note("began", message)
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(600)
