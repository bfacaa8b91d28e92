"""The handlers of the stage, one of each kind: they do what a message says, and write down each run and each effect."""

import asyncio
import os
import time
from pathlib import Path

from django_redis_streams import Message, handler
from django_redis_streams.exceptions import Reject

from .ledgers import Fate, Ledger
from .models import Effect

RUNS = Ledger(Path(os.environ["CHAOS_DIRECTORY"], "runs"))


def note(what: str, message: Message) -> None:
    """Write down that a run began or ended."""
    RUNS.note(what, message.stream, message.group, message.payload["number"], message.attempt, os.getpid())


def effect(message: Message) -> Effect:
    """Return the effect of a message."""
    return Effect(stream=message.stream, group=message.group, number=message.payload["number"])


def fate(message: Message) -> Fate:
    """Return what to do: who failed once returns now."""
    told = Fate(message.payload["fate"])
    return Fate.RETURN if told is Fate.FAIL_ONCE and message.attempt > 1 else told


def obey(message: Message) -> None:
    """Fail if the message says so."""
    match fate(message):
        case Fate.FAIL_ONCE:
            raise RuntimeError("told to fail once")
        case Fate.REJECT:
            raise Reject("told to")


def run(message: Message) -> None:
    """Run a message that comes alone."""
    note("began", message)
    try:
        time.sleep(message.payload["seconds"])
        obey(message)
        effect(message).save()
    finally:
        note("ended", message)


handler("bare", group="plain")(run)
handler("bare", group="once", once=True)(run)


@handler("kept", group="batch", batch=True, once=True)
def run_batch(messages: list[Message]) -> None:
    """Run a batch, in which messages fail one by one."""
    for each in messages:
        note("began", each)
    time.sleep(max(each.payload["seconds"] for each in messages))
    for each in messages:
        match fate(each):
            case Fate.FAIL_ONCE:
                each.retry()
            case Fate.REJECT:
                each.reject("told to")
    Effect.objects.bulk_create(effect(each) for each in messages if fate(each) is Fate.RETURN)
    for each in messages:
        note("ended", each)


@handler("kept", group="async")
async def run_coroutine(message: Message) -> None:
    """Run a message in an event loop, its effect in the thread of the loop's databases."""
    note("began", message)
    try:
        await asyncio.sleep(message.payload["seconds"])
        obey(message)
        await effect(message).asave()
    finally:
        note("ended", message)
