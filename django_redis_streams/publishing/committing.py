"""The rows that a transaction inserts right before its commit, and their way after it: sent, and off the table."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

from .. import signals
from ..exceptions import NotReplicated
from ..wire import Fields
from .encoded import Call
from .outboxes import LEASE, Outbox, OutboxEntry, SentMessage
from .sending import publish_after_commit

__all__ = ["CommittedRows"]

logger = logging.getLogger("django_redis_streams")

# So many messages are sent without a look at the lease: one send, whose reply is waited for once.
_AT_ONCE: Final = 250


class CommittedRows:
    """The rows of one transaction: of `calls` calls of `publish`, each of which then calls `send` once.

    While the lease lasts the rows are this process's alone. Its own clock tells, begun before the INSERT: the database,
    whose clock the relay goes by, began no sooner. What is sent is settled before somebody else's callback, or a
    receiver of `message_published`, is called. So neither these nor a slow COMMIT have a message sent twice.
    What it is too late for is the relay's. What couldn't be sent is released: it is the relay's at once.
    """

    def __init__(self, database: BaseDatabaseWrapper, outbox: Outbox, calls: int) -> None:
        self._database = database
        self._outbox = outbox
        self._outstanding = calls
        self._sent: list[SentMessage] = []
        self._failed: list[str] = []
        self._send_until = time.monotonic() + LEASE / 2

    def insert(self, messages: Sequence[OutboxEntry]) -> None:
        """Insert all. Raises what the database raises."""
        self._outbox.insert(self._database, messages, LEASE)

    def send(self, call: Call, whole: Sequence[Fields], *, settles: bool) -> None:
        """Send what one call published. Settle what is on the server where it `settles`, and after the last call.

        After the last call, release what isn't on the server.
        """
        try:
            self._send(call, whole)
        finally:
            self._outstanding -= 1
            if self._sent and (settles or not self._outstanding):
                self._settle()
            if self._failed and not self._outstanding:
                self._release()

    def _send(self, call: Call, whole: Sequence[Fields]) -> None:
        for start in range(0, len(whole), _AT_ONCE):
            if time.monotonic() >= self._send_until:
                logger.debug(
                    "%d messages of stream %r are left to the relay: the commit took too long to send them now.",
                    len(whole) - start, call.config.name, extra={"stream": call.config.name},
                )  # fmt: skip
                return
            publish_after_commit(call, whole[start : start + _AT_ONCE], self._database.alias, note=self._note)

    def _note(self, call: Call, piece: Sequence[Fields], replies: Sequence[str | BaseException]) -> None:
        for fields, reply in zip(piece, replies, strict=True):
            if isinstance(reply, str):
                self._sent.append(SentMessage(call.config, fields[1], reply))
            elif isinstance(reply, NotReplicated):
                self._sent.append(SentMessage(call.config, fields[1], reply.entry_id, replicated=False))
            else:
                self._failed.append(fields[1])
        # Receivers may take longer than the lease.
        if self._sent and signals.has_receivers(signals.message_published):
            self._settle()

    def _settle(self) -> None:
        sent, self._sent = self._sent, []
        try:
            self._outbox.settle(self._database, sent)
        except Exception as error:  # noqa: BLE001  the messages are sent: a row that stays doubles one, and loses none
            logger.warning(
                "%d messages are sent, but their rows couldn't be taken out of the outbox of database %r, so the relay "
                "will send them once more: %s",
                len(sent), self._database.alias, error,
            )  # fmt: skip

    def _release(self) -> None:
        try:
            self._outbox.release(self._database, self._failed)
        except Exception as error:  # noqa: BLE001  the transaction is committed: its rows are the relay's, only later
            logger.warning(
                "%d messages that couldn't be sent wait in the outbox of database %r until their lease of %g seconds "
                "is over, because it couldn't be ended: %s",
                len(self._failed), self._database.alias, LEASE, error,
            )  # fmt: skip
