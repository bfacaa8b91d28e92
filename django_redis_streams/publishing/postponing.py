"""Keeping in the outbox what couldn't be sent, and telling that it is kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from django.db import connections as databases
from django.db import transaction

from .. import signals
from ..exceptions import NotReplicated, StreamsError
from ..wire import Fields
from .encoded import Call
from .outboxes import outbox_of

__all__ = ["Failure", "postpone", "tell_postponed"]

logger = logging.getLogger("django_redis_streams")

_POSTPONED: Final = (
    "Message %s of stream %r couldn't be sent now. The outbox of database %r keeps it, and the relay (in runconsumers) "
    "tries again: %s"
)
_ON_TOO_FEW_REPLICAS: Final = (
    "Message %s of stream %r isn't safe yet. The outbox of database %r keeps it until enough replicas have it. %s"
)

# The fields of a message, and why it couldn't be sent.
Failure = tuple[Fields, BaseException]


def postpone(call: Call, failures: Sequence[Failure], using: str) -> Exception | None:
    """Insert a row for each message, due at once, all or none. Return the error that kept the database from that."""
    try:
        outbox = outbox_of(call.config)
        outbox.check_table(using)
        with transaction.atomic(using=using):
            outbox.insert(databases[using], [(call, fields) for fields, _ in failures], 0.0)
    except Exception as error:  # noqa: BLE001  whatever it is, the caller tells of it beside the server's error
        return error
    tell_postponed(call, failures, using)
    return None


def tell_postponed(call: Call, failures: Sequence[Failure], using: str) -> None:
    """Log each message whose row is in the outbox, and tell of it by `publish_postponed`."""
    has_receivers = signals.has_receivers(signals.publish_postponed)
    for fields, error in failures:
        logger.warning(
            _ON_TOO_FEW_REPLICAS if isinstance(error, NotReplicated) else _POSTPONED,
            fields[1],
            call.config.name,
            using,
            error,
            exc_info=None if isinstance(error, StreamsError) else error,
            extra={"stream": call.config.name, "message_id": fields[1]},
        )
        if has_receivers:
            signals.send(signals.publish_postponed, call.as_sent(fields), error=error)
