"""An outage: the shop's embedded server is stopped for real, and isn't there until the outage ends.

Whoever uses embedded:// starts a server that isn't there. So during the outage this process looks for it at its socket
alone, as a shop does whose server is on another machine.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import redis
from django.conf import settings
from django.test.utils import override_settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from django_redis_streams import connections

STOP_TIMEOUT = 30


def possible() -> bool:
    """Return whether the server is the shop's own; nobody else's is stopped."""
    url: str = settings.REDIS_STREAMS["CONNECTIONS"]["default"]["URL"]
    return url.startswith("embedded:")


@contextmanager
def outage(log: Path) -> Iterator[None]:
    """Keep the server away within the block, and start it again. What the package logs meanwhile goes to `log`."""
    path, _ = connections.server()
    at_socket = {"CONNECTIONS": {"default": {"URL": f"unix://{quote(path)}"}}}
    with override_settings(REDIS_STREAMS={**settings.REDIS_STREAMS, **at_socket}), _logged_to(log):
        _stop(path)
        yield
    connections.get().call("PING")


def _stop(path: str) -> None:
    """Stop the server; it closes the connection when all that it has accepted is in its file."""
    with redis.Redis(unix_socket_path=path, socket_timeout=STOP_TIMEOUT, retry=Retry(NoBackoff(), 0)) as client:
        client.shutdown(nosave=True)


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    logger = logging.getLogger("django_redis_streams")
    (console,) = logger.handlers
    file = logging.FileHandler(path)
    file.setFormatter(console.formatter)
    logger.handlers = [file]
    try:
        yield
    finally:
        logger.handlers = [console]
        file.close()
