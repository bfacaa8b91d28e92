"""The handlers of our side: each does what the bare loop's function does, with the message's payload."""

import asyncio
import os
import time

from django_redis_streams import Message, handler

from .work import MARKS, SIZE, SLEEP, TALLY


@handler("orders", group="message")
@handler("orders", group="pending")
def mark(message: Message) -> None:
    """As `work.mark`."""
    os.write(TALLY, MARKS[message.payload["order_id"]])


@handler("orders", group="batch", batch=True)
def mark_each(messages: list[Message]) -> None:
    """As `work.mark`, for each of a batch: it does no less than the bare loop."""
    for message in messages:
        os.write(TALLY, MARKS[message.payload["order_id"]])


@handler("orders", group="awaited")
async def mark_as_coroutine(message: Message) -> None:
    """As `work.mark`, in a coroutine that never suspends."""
    os.write(TALLY, MARKS[message.payload["order_id"]])


@handler("orders", group="suspending")
async def mark_after_a_turn(message: Message) -> None:
    """As `work.mark`, when the event loop has turned once."""
    await asyncio.sleep(0)
    os.write(TALLY, MARKS[message.payload["order_id"]])


@handler("orders", group="threads")
def sleep(message: Message) -> None:
    """As `work.sleep`."""
    time.sleep(SLEEP)
    os.write(TALLY, MARKS[message.payload["order_id"]])


@handler("orders", group="latency")
def mark_time(message: Message) -> None:
    """As `work.mark_time`."""
    os.write(TALLY, time.monotonic_ns().to_bytes(SIZE, "little") if message.payload["order_id"] else b"")
