"""Links to the servers of `REDIS_STREAMS['CONNECTIONS']`: one kept for each thread, or one of the caller's own.

`link` is what is said and heard on one, `refusals` which replies end it; `endpoint` is where it leads,
`arguments` how URL and OPTIONS are read, `transport` what is taken from redis-py. What a reply means is for
`store` to say, when to come back after an error for the worker.
"""

from __future__ import annotations

import threading
from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver

from .. import conf
from .endpoint import Endpoint
from .link import KeptLink, Link

__all__ = ["Link", "address", "get", "open"]

# Each thread's links by alias. A thread that ends lets go of its own, which closes them.
_kept = threading.local()


def get(alias: str = "default") -> Link:
    """This thread's link for short requests (publishing, the admin, commands); it connects when first used.

    It connects again by itself: trying for a moment, and never sending a command a second time. A reply is
    waited for 5 seconds, a connection 2, unless `socket_timeout` and `socket_connect_timeout` in OPTIONS
    say otherwise. Raises `ConfigurationError` for an alias, URL or OPTIONS that can't work.
    """
    links = _kept.__dict__
    link: Link | None = links.get(alias)
    if link is None:
        link = links[alias] = KeptLink(Endpoint.of(conf.connection(alias)))
    return link


def open(alias: str = "default", *, timeout: float) -> Link:  # noqa: A001  `connections.open` says it best
    """A link of the caller's own, connected now. `timeout` is how many seconds a reply may take: above BLOCK.

    Once lost or closed it stays so, and says so at each call: what was pending on it needs looking after
    before another is opened. Raises `ServerUnreachable` at once where there is no server.
    """
    link = Link(Endpoint.of(conf.connection(alias)), timeout)
    link.connect()
    return link


def address(alias: str = "default") -> str:
    """Where a connection leads, printable: scheme, host or path and database, no user and no password."""
    return Endpoint.of(conf.connection(alias)).address


@receiver(setting_changed, dispatch_uid="django_redis_streams.connections")
def _forget(*, setting: str, **_: Any) -> None:
    global _kept  # noqa: PLW0603  replaced whole: that drops the links of all threads at once
    if setting == "REDIS_STREAMS":
        _kept = threading.local()
