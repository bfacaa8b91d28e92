"""What publishing asks of an outbox: an app with a table that keeps messages until they are on the server.

Publishing itself has no table. The app `django_redis_streams.outbox` registers here what writes its own, at its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import StreamConfig
from ..exceptions import ConfigurationError
from ..wire import Fields
from .encoded import Call

__all__ = ["LEASE", "Outbox", "OutboxEntry", "SentMessage", "outbox_of", "register_outbox"]

# In seconds: for so long after its INSERT a row is the sender's alone, and the relay leaves it. A send begins within
# the first half only. The other half is enough for connecting (2 s) and for a reply (5 s), so the relay never sends
# what is being sent. A send that fails releases the row. A longer lease would do one harm: what a killed process
# leaves waits for its end.
LEASE: Final = 20.0

# The call that a message is of, and its fields.
OutboxEntry = tuple[Call, Fields]


class SentMessage(NamedTuple):
    """A message that is on the server, and on as many replicas as MIN_REPLICAS asks for, or not.

    A delayed one has no `entry_id`.
    """

    config: StreamConfig
    message_id: str
    entry_id: str
    replicated: bool = True


class Outbox(Protocol):
    """Writes the table. Errors of the database are raised as they are."""

    def check_table(self, using: str) -> None:
        """Raise `ConfigurationError` where the database has no table."""

    def insert(self, database: BaseDatabaseWrapper, messages: Sequence[OutboxEntry], lease: float) -> None:
        """Insert a row for each message, in the transaction that is open; the relay leaves it for `lease` seconds."""

    def settle(self, database: BaseDatabaseWrapper, sent: Sequence[SentMessage]) -> None:
        """Delete the rows of what is on the server.

        Mark them as sent where OUTBOX_KEEP keeps them, and where too few replicas have their messages.
        """

    def release(self, database: BaseDatabaseWrapper, message_ids: Sequence[str]) -> None:
        """End the lease of these messages' rows, so that the relay sends them at once."""


_registered: list[Outbox] = []


def register_outbox(outbox: Outbox) -> None:
    """Have `outbox` keep the messages of streams with OUTBOX from now on."""
    _registered[:] = [outbox]


def outbox_of(config: StreamConfig) -> Outbox:
    """Return what writes the rows of a stream with OUTBOX. Raises `ConfigurationError` without its app."""
    if not _registered:
        raise ConfigurationError(
            f"Stream {config.name!r} has the OUTBOX {config.outbox!r}, but 'django_redis_streams.outbox' isn't in "
            "INSTALLED_APPS. Add it there and run `manage.py migrate`, or remove OUTBOX."
        )
    return _registered[0]
