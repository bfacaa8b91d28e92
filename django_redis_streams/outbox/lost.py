"""Which rows' messages were on the server, and aren't any more; and having them sent again, under the same ids."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from django.db.models.functions import Now

from ..conf import StreamConfig
from ..connections import Link
from ..keys import DEFAULT_LANE
from ..store.observe.missing import Delayed, missing_delayed, missing_entries
from .models import OutboxMessage
from .standing import SENT, all_rows

__all__ = ["PAGE", "lost_rows", "send_again"]

logger = logging.getLogger("django_redis_streams")

# Rows that are looked for at once.
PAGE: Final = 500


def lost_rows(
    using: str, link: Link, streams: Mapping[str, StreamConfig], page: Sequence[OutboxMessage]
) -> Sequence[int]:
    """Return the ids of those sent rows, at most `PAGE`, whose messages the server has lost."""
    lanes: dict[tuple[str, str], list[OutboxMessage]] = defaultdict(list)
    for row in page:
        lanes[row.stream, row.lane].append(row)
    lost: set[str] = set()
    for (name, lane), alike in lanes.items():
        stream = streams[name]
        key = stream.keys.lane(lane if lane in stream.lane_names else DEFAULT_LANE)
        lost |= missing_entries(link, key, [(row.entry_id, row.message_id) for row in alike if row.entry_id])
        if delayed := [row for row in alike if not row.entry_id]:
            lost |= missing_delayed(link, stream.keys, key, _as_delayed(using, delayed))
    return [row.pk for row in page if row.message_id in lost]


def send_again(using: str, ids: Sequence[int]) -> None:
    """Have the relay send these rows again, if there are any."""
    if not ids:
        return
    found = all_rows(using).filter(SENT, pk__in=ids)
    count = found.update(sent_at=None, entry_id="", error="", next_try_at=Now())
    logger.warning(
        "The server has lost %d messages of the outbox of database %r, as after a failover. They are sent again.",
        count, using,
    )  # fmt: skip


def _as_delayed(using: str, page: Sequence[OutboxMessage]) -> Sequence[Delayed]:
    """Return what is known of the times of delayed messages, in ms and by the database's clock."""
    (now,) = all_rows(using).order_by("pk").values_list(Now(), flat=True)[:1]
    ms = timedelta(milliseconds=1)
    found = []
    for row in page:
        due_in = None if row.delay_ms is None else row.delay_ms - (now - row.created_at) // ms
        assert row.sent_at is not None  # as it was asked for
        found.append(Delayed(row.message_id, (now - row.sent_at) // ms, due_in, row.due_ms))
    return found
