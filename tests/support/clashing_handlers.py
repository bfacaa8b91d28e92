"""A second handler for all messages of a group: the first is among the obedient ones."""

from django_redis_streams.handlers import handler
from django_redis_streams.message import Message


@handler("orders", group="loyalty")
def collect(message: Message) -> None:
    """Is never run."""
