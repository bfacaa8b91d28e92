"""Redis Streams for Django: publish on commit, handle, retry, dead-letter, replay.

Each name is imported when it is first asked for: pytest imports this package for its plugin, before a project's
settings are known and before coverage is measured, and that must not import Django.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exceptions import Reject, Retry
    from .following import afollow, follow
    from .handlers import handler
    from .message import Message
    from .model_events import publishes
    from .publishing import apublish, apublish_many, publish, publish_many

__all__ = [
    "Message", "Reject", "Retry", "afollow", "apublish", "apublish_many", "follow", "handler", "publish",
    "publish_many", "publishes",
]  # fmt: skip

_HOMES = {
    "Message": "message",
    "Reject": "exceptions",
    "Retry": "exceptions",
    "afollow": "following",
    "apublish": "publishing",
    "apublish_many": "publishing",
    "follow": "following",
    "handler": "handlers",
    "publish": "publishing",
    "publish_many": "publishing",
    "publishes": "model_events",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
