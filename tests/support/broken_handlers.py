"""A module of handlers that can't be imported."""

from django_redis_streams.handlers import handler
from django_redis_streams.message import Message


@handler("orders", group="loyalty", type="point.*")
def collect(message: Message) -> None:
    """Is never run."""


raise RuntimeError("no such gateway")
