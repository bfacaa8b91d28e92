"""The handlers for `inbox`: each writes a row for each message, in a transaction, with `once` and without."""

import os

from django.db import models

from django_redis_streams import Message, handler

from .work import MARKS, TALLY


class Effect(models.Model):
    """What a message leaves behind."""

    order = models.CharField(max_length=20)

    class Meta:
        app_label = "benchmarks"
        db_table = "effects"

    def __str__(self) -> str:
        return self.order


@handler("orders", group="atomic", atomic=True)
@handler("orders", group="once", once=True)
def write(message: Message) -> None:
    """Write a row, and a mark as the others do."""
    Effect.objects.create(order=message.payload["order_id"])
    os.write(TALLY, MARKS[message.payload["order_id"]])


@handler("orders", group="atomic-batch", batch=True, atomic=True)
@handler("orders", group="once-batch", batch=True, once=True)
def write_each(messages: list[Message]) -> None:
    """Write the rows of a batch in one statement, and a mark for each."""
    Effect.objects.bulk_create(Effect(order=each.payload["order_id"]) for each in messages)
    for message in messages:
        os.write(TALLY, MARKS[message.payload["order_id"]])
