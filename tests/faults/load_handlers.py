"""Handlers of what `load_publisher` publishes: each effect is a row that nothing keeps from being there twice."""

from collections.abc import Sequence

from django.db import connection

from django_redis_streams import Message, handler


@handler("orders", group="billing", type="effect", once=True)
def have_effect(message: Message) -> None:
    """Have the effect of one message."""
    have_effects([message])


@handler("views", group="counting", type="effect", batch=True, once=True)
def have_effects(messages: Sequence[Message]) -> None:
    """Have those of some."""
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO effects VALUES (%s)", [(each.payload,) for each in messages])
