"""A message to call a handler with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from ..message import Message, new_id

__all__ = ["make_message"]


def make_message(
    payload: Any,
    *,
    stream: str = "tests",
    group: str = "tests",
    type: str = "",  # noqa: A002  the message's own word for it
    id: str | None = None,  # noqa: A002  as above
    key: str | None = None,
    headers: Mapping[str, Any] | None = None,
    time: datetime | None = None,
    lane: str = "default",
    attempt: int = 1,
) -> Message:
    """Make a message as a handler gets it: its payload went through JSON, so a Decimal becomes text, a tuple a list.

    Neither stream nor group need be declared. Raises `TypeError` for a payload that isn't JSON.
    """
    moment = datetime.now(UTC) if time is None else time
    return Message(
        id=new_id() if id is None else id,
        stream=stream,
        group=group,
        type=type,
        payload=json.loads(json.dumps(payload, cls=DjangoJSONEncoder, allow_nan=False)),
        key=key,
        headers=headers,
        time=moment,
        lane=lane,
        attempt=attempt,
        entry_id=f"{int(moment.timestamp() * 1000)}-0",
    )
