"""Mutants: the product broken on purpose, in the workers of a trial alone. The checker must notice each.

A mutant is a function that replaces a part of the product, or the text of a Lua script. Workers import this module with
their handlers; `CHAOS_MUTANT` names the one to apply. `promises.py` says under which nemesis it must be noticed.
"""

import hashlib
import os
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from django.db import connections as databases
from django.db import transaction

from django_redis_streams import connections
from django_redis_streams.inbox import running
from django_redis_streams.inbox.models import InboxMessage
from django_redis_streams.inbox.rows import key_of
from django_redis_streams.outbox.batch import Batch
from django_redis_streams.outbox.relay import Relay
from django_redis_streams.outbox.standing import all_rows
from django_redis_streams.outcomes import Ack
from django_redis_streams.store.consume.settle import settle_commands
from django_redis_streams.store.scripts import exchange, script
from django_redis_streams.worker.consumer.batch_runner import BatchRunner
from django_redis_streams.worker.consumer.unsettled import Unsettled


def rewrite(name: str, before: str, after: str) -> None:
    """Replace text in a Lua script."""
    found = script(name)
    assert before in found.source, f"{name}.lua has no {before!r} to replace"
    found.source = found.source.replace(before, after)
    found.digest = hashlib.sha1(found.source.encode(), usedforsecurity=False).hexdigest()


def acknowledge_before_handling() -> None:
    """A batch is acknowledged when it was read; then its handlers run."""
    handle = BatchRunner.handle

    def handle_acknowledged(self: Any, batch: list[Any]) -> None:
        for each in batch:
            each.outcome = Ack()
        commands = [command for command, _ in settle_commands(self.membership, batch)]
        exchange(connections.get(self.membership.stream.connection), commands)
        handle(self, batch)

    BatchRunner.handle = handle_acknowledged


def claim_nothing() -> None:
    """What was handed back, or belongs to a consumer that is gone, is claimed by nobody."""
    rewrite("claim", "chosen[at] = {choose(KEYS[at])}", "chosen[at] = {{}, {{}, {}}}")


def trust_ownership() -> None:
    """No fence: who had a message once may settle and renew it, whoever has it now."""
    fence = "return #redis.call('XPENDING', key, group, id, id, 1, consumer) > 0"
    for each in ("retry", "dead_letter", "renew"):
        rewrite(each, fence, "return true")


def copy_after_acknowledging() -> None:
    """A dead letter is acknowledged first, and then written to the dead letter queue."""
    copy = "local id = redis.call('XADD', KEYS[3], '*', unpack(fields))\n"
    acknowledge = "redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])\n"
    rewrite("dead_letter", copy, "")
    rewrite("dead_letter", acknowledge, acknowledge + copy)


def forget_after_reconnecting() -> None:
    """What was on its way when a connection was lost isn't settled again."""

    def forget(self: Any) -> list[Any]:
        with self._flushing:
            self.in_flight.clear()
            return self._taken()

    Unsettled.send_everything = forget


def relay_deletes_first() -> None:
    """The relay deletes the rows of a batch, and then sends their messages."""
    send = Batch.send

    def deleting(self: Any, link: Any) -> Any:
        all_rows(self._using).filter(pk__in=[row.pk for row in self._rows]).delete()
        return send(self, link)

    Batch.send = deleting
    Relay._transaction = lambda _: nullcontext()
    Relay._locks = False


def inbox_row_before_the_transaction() -> None:
    """The row of the inbox is committed by itself, before the handler's transaction."""
    insert = running.insert

    def elsewhere(messages: Sequence[Any], using: str) -> list[Any]:
        found: list[Any] = []

        def work() -> None:
            found.extend(insert(messages, using))
            databases.close_all()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return found

    running.insert = elsewhere


def inbox_row_after_the_transaction() -> None:
    """The row of the inbox is inserted when the handler's transaction was committed."""
    insert = running.insert

    def later(messages: Sequence[Any], using: str) -> list[Any]:
        known = InboxMessage.objects.using(using).in_bulk([key_of(each) for each in messages])
        new = [each for each in messages if key_of(each) not in {key.hex for key in known}]

        def insert_now() -> None:
            time.sleep(0.02)  # a kill may come in between
            insert(new, using)

        if new:
            transaction.on_commit(insert_now, using=using)
        return new

    running.insert = later


globals()[os.environ["CHAOS_MUTANT"].replace("-", "_")]()
