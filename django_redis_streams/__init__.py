"""Redis Streams for Django: publish on commit, handle, retry, dead-letter, replay."""

from .exceptions import Reject, Retry
from .following import read
from .handlers import handler
from .message import Message
from .model_events import publishes
from .publishing import apublish, publish, publish_many

__all__ = ["Message", "Reject", "Retry", "apublish", "handler", "publish", "publish_many", "publishes", "read"]
