"""Publishing events of what is committed already, as by a save outside a transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .. import conf, signals
from ..exceptions import StreamsError
from ..keys import DEFAULT_LANE
from ..message import Message, new_id
from .encoded import Call
from .publication import Publication
from .sending import publish_after_commit

__all__ = ["publish_committed"]

logger = logging.getLogger("django_redis_streams")


def publish_committed(
    stream: str,
    payload: Callable[[], Any],
    *,
    type: str,  # noqa: A002  the message's own word for it
    lane: str | None,
    subject: str,
    using: str,
) -> None:
    """Publish now what `payload` returns, as after a commit. Raises nothing: the `subject` is in the database `using`.

    A message that can't be sent, or not even made, is logged, and `publish_failed` tells of it. A message that couldn't
    be made has the payload that was to be encoded, None where `payload` raised.
    """
    given = None
    try:
        given = payload()
        with Publication(conf.stream(stream), None) as publication:
            call = Call(publication.config, type, None, publication.headers, lane)
            publication.lane = call.lane
            entry = call.one(given)
            publication.message_id = entry[1]
            publish_after_commit(call, [entry], using)
    except Exception as error:  # noqa: BLE001  whatever it is: what is committed must not look as if it weren't
        unmade = Message(id=new_id(), stream=stream, type=type, payload=given, lane=lane or DEFAULT_LANE)
        _tell_unmade(unmade, subject, error)


def _tell_unmade(message: Message, subject: str, error: Exception) -> None:
    logger.error(
        "Message %s, %r of %s for stream %r, is not published, though that is committed: %s",
        message.id,
        message.type,
        subject,
        message.stream,
        error,
        exc_info=None if isinstance(error, StreamsError) else error,
        extra={"stream": message.stream, "message_id": message.id},
    )
    if signals.has_receivers(signals.publish_failed):
        signals.send(signals.publish_failed, message, error=error)
